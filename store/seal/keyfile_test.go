package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pawlhq/pawl/secrets"
)

func TestGenerateKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.key")
	if err := GenerateKeyFile(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	err = GenerateKeyFile(path, rand.Reader)
	if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), path) {
		t.Errorf("writing it again gave %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the key file was overwritten")
	}
}

func TestGenerateKeyFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pawl.key")
	if err := GenerateKeyFile(path, iotest.ErrReader(errors.New("no entropy"))); err == nil {
		t.Error("no randomness, and no error")
	}
	if err := GenerateKeyFile(path, io.LimitReader(rand.Reader, keyLen-1)); err == nil {
		t.Error("too little randomness, and no error")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was left behind: %v", err)
	}
	err := GenerateKeyFile(filepath.Join(dir, "missing", "pawl.key"), rand.Reader)
	if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), filepath.Join(dir, "missing")) {
		t.Errorf("a missing folder gave %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	good := bytes.Repeat([]byte{7}, keyLen)
	line := func(id string, raw []byte) string { return id + " " + base64.StdEncoding.EncodeToString(raw) }
	goodLine := line(idOf(good).String(), good)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable by the group":  {keyFileTitle + "\n" + goodLine, 0o640, "chmod 600 "},
		"writable by others":     {keyFileTitle + "\n" + goodLine, 0o602, "chmod 600 "},
		"empty":                  {"", 0o600, "is empty"},
		"blank":                  {" \n\n", 0o600, "is empty"},
		"something else":         {"-----BEGIN PRIVATE KEY-----\n" + goodLine, 0o600, "first line"},
		"a newer format":         {"pawl key file 2\n" + goodLine, 0o600, "first line"},
		"no key":                 {keyFileTitle + "\n# nothing\n", 0o600, "no key"},
		"no id":                  {keyFileTitle + "\n" + base64.StdEncoding.EncodeToString(good), 0o600, "line 2"},
		"too short":              {keyFileTitle + "\n" + line(idOf(good[:31]).String(), good[:31]), 0o600, "31 bytes instead of 32"},
		"too long":               {keyFileTitle + "\n" + line(idOf(good).String(), append(good, 1)), 0o600, "33 bytes instead of 32"},
		"not base64":             {keyFileTitle + "\n" + idOf(good).String() + " ???", 0o600, "base64"},
		"mistyped":               {keyFileTitle + "\n" + line(idOf(good).String(), append([]byte{8}, good[1:]...)), 0o600, "does not match"},
		"second key damaged":     {keyFileTitle + "\n#\n" + goodLine + "\nx y\n", 0o600, "line 4"},
		"larger than a key file": {keyFileTitle + "\n" + strings.Repeat("#\n", maxKeyFile), 0o600, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pawl.key")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			if secrets.KindOf(err) != secrets.Invalid {
				t.Fatalf("error %v is not Invalid", err)
			}
			for _, want := range []string{c.want, path} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(good)[:12]) {
				t.Error("the error shows the key")
			}
		})
	}
	for name, path := range map[string]string{
		"missing":  filepath.Join(t.TempDir(), "pawl.key"),
		"a folder": t.TempDir(),
	} {
		if _, err := Load(path); secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file may hold several keys: the first seals, each opens what it sealed.
func TestSeveralKeys(t *testing.T) {
	dir := t.TempDir()
	load := func(name string, keys ...[]byte) *Keyring {
		text := keyFileTitle + "\n"
		for _, raw := range keys {
			text += idOf(raw).String() + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	old, young := bytes.Repeat([]byte{1}, keyLen), bytes.Repeat([]byte{2}, keyLen)
	before, after := load("before", old), load("after", young, old)
	sealed, err := before.Seal(context.Background(), "", "arn", "id", secrets.Text("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Open(context.Background(), "arn", "id", sealed); err != nil || !got.Equal(secrets.Text("x")) {
		t.Fatalf("the old key does not open any more: %v", err)
	}
	if after.KeyID() != idOf(young).String() {
		t.Error("it does not seal with the first key")
	}
	m := memory{}
	if err := before.Verify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := after.Verify(t.Context(), m); err != nil {
		t.Errorf("a file with the store's key and a new one is refused: %v", err)
	}
}
