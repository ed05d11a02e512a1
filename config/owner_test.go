package config

import (
	"os"
	"strings"
	"testing"
)

// TestWhoseProgram: a file that happens to lie in the working directory runs
// nobody else's program.
func TestWhoseProgram(t *testing.T) {
	t.Chdir(t.TempDir())
	const program = "store: {sqlite: {path: p.db, key_command: [pass, show, pawl]}}\n"
	what := "names a program (store.sqlite.key_command)"
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(DefaultFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(DefaultFile, mode); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(path string) bool {
		t.Helper()
		_, err := Load(path)
		if err != nil && !(strings.Contains(err.Error(), what) && strings.Contains(err.Error(), "--config ./pawl.yaml")) {
			t.Errorf("got %v", err)
		}
		return err != nil
	}
	write(program, 0o644)
	if refused(DefaultFile) {
		t.Error("one's own file is refused")
	}
	write(program, 0o646)
	if !refused(DefaultFile) || refused("./"+DefaultFile) {
		t.Error("a file that everybody can write is taken, or one that was named is not")
	}
	write("store: {sqlite: {path: p.db, key_file: p.key}}\n", 0o646)
	if refused(DefaultFile) {
		t.Error("a file without a program is refused")
	}
	for text, does := range map[string]string{
		"store: {aws: {}}\n":        "uses your AWS credentials (store.aws)",
		minimal + "aws_kms: {}\n":   "uses your AWS credentials (aws_kms)",
		minimal + "functions: {}\n": "uses your AWS credentials (functions)",
		minimal + "regions: {eu-west-1: {endpoint: https://a, credentials_file: c}}\n": "sends secrets to other servers (regions)",
		"store: {postgres: {dsn: postgres://u@h/d, password_file: p, key_file: k}}\n":  "logs in to a database in your name (store.postgres)",
		"store: {postgres: {dsn: postgres://u@h/d, key_command: [a]}}\n":               "names a program (store.postgres.key_command)",
		minimal + "functions: {named: [{name: a, command: [a]}]}\n":                    "names a program (functions.named)",
	} {
		what = does
		if write(text, 0o646); !refused(DefaultFile) || refused("./"+DefaultFile) {
			t.Errorf("%s: taken, or refused though it was named", does)
		}
		if write(text, 0o644); refused(DefaultFile) {
			t.Errorf("%s: one's own file is refused", does)
		}
	}
	what = "names a program (store.sqlite.key_command)"
	write(program, 0o600)
	info, err := os.Stat(DefaultFile)
	if err != nil {
		t.Fatal(err)
	}
	user := os.Geteuid()
	if !trusted(info, user) || user != 0 && trusted(info, user+1) {
		t.Error("whose the file is does not count")
	}
	if user == 0 {
		if err := os.Chown(DefaultFile, 1234, -1); err != nil {
			t.Skip(err)
		}
		if !refused(DefaultFile) {
			t.Error("another user's file is taken")
		}
	}
}
