package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

func TestSources(t *testing.T) {
	young, old := bytes.Repeat([]byte{2}, keyLen), bytes.Repeat([]byte{1}, keyLen)
	bare := base64.StdEncoding.EncodeToString
	file := keyFileTitle + "\n# for people\n" + keyLine(young) + "\n" + keyLine(old) + "\n"
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("credential", bare(young)+"\n", 0o440)
	env := map[string]string{
		"FILE": file, "BARE": bare(young), "TWO": bare(young) + "\n" + bare(old) + "\n", "CREDENTIALS_DIRECTORY": dir,
	}
	one, two := idOf(young).String(), idOf(young).String()+" "+idOf(old).String()
	for name, c := range map[string]struct {
		source Source
		want   string
	}{
		"file":           {Source{File: write("file", file, 0o600)}, two},
		"env, file":      {Source{Env: "FILE"}, two},
		"env, bare":      {Source{Env: "BARE"}, one},
		"env, two":       {Source{Env: "TWO"}, two},
		"credential":     {Source{Credential: "credential"}, one},
		"command, bare":  {Source{Command: []string{"echo", bare(young)}}, one},
		"command, file":  {Source{Command: []string{"cat", filepath.Join(dir, "file")}}, two},
		"command, noisy": {Source{Command: []string{"sh", "-c", "echo warning >&2; echo " + bare(young)}}, one},
	} {
		m, err := c.source.Load(t.Context(), func(name string) string { return env[name] })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(m.KeyIDs(), " "); got != c.want {
			t.Errorf("%s: keys %s", name, got)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			for _, x := range []any{m, New(Config{Master: m})} {
				if text := fmt.Sprintf(verb, x); text != m.String() || strings.Contains(text, bare(young)) {
					t.Errorf("%s: %s prints %s", name, verb, text)
				}
			}
			if text := fmt.Sprintf(verb, c.source); strings.Contains(text, bare(young)) {
				t.Errorf("%s: %s prints the key", name, verb)
			}
		}
	}
}

func TestSourcesRefuse(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, keyLen))
	dir := t.TempDir()
	path := filepath.Join(dir, "bare")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"SHORT": key[:20], "JUNK": "#" + key, "SPACES": " \n", "THREE": key + " " + key + " x", "CREDENTIALS_DIRECTORY": dir,
		"LARGE": strings.Repeat(key+"\n", maxKeyFile/len(key)+1), "DAMAGED": keyFileTitle + "\n0011223344556677 " + key,
	}
	sh := func(script string) Source { return Source{Command: []string{"sh", "-c", script}} }
	for name, c := range map[string]struct {
		source Source
		want   string
	}{
		"none":               {Source{}, "key_file"},
		"two":                {Source{File: path, Env: "X"}, "2 are given"},
		"a bare file":        {Source{File: path}, "first line"},
		"unset":              {Source{Env: "UNSET"}, "environment variable UNSET is not set"},
		"short":              {Source{Env: "SHORT"}, "base64"},
		"junk":               {Source{Env: "JUNK"}, "base64"},
		"empty":              {Source{Env: "SPACES"}, "SPACES is empty"},
		"third is bad":       {Source{Env: "THREE"}, "is no key"},
		"large":              {Source{Env: "LARGE"}, "too large"},
		"mistyped":           {Source{Env: "DAMAGED"}, "does not match its id"},
		"no credential":      {Source{Credential: "missing"}, "LoadCredential=missing:FILE"},
		"credential by path": {Source{Credential: "../bare"}, "without a path"},
		"hidden credential":  {Source{Credential: ".."}, "without a path"},
		"no such program":    {Source{Command: []string{"/no/such/program", key}}, "/no/such/program"},
		"it fails":           {sh("echo " + key + "; echo the vault is 'sealed\x1b[31m' >&2; exit 3"), "exit status 3: the vault is sealed"},
		"it writes nothing":  {sh(":"), "is empty"},
		"it writes junk":     {sh("echo x" + key), "base64"},
		"it never stops":     {sh("yes " + key + " | head -c 1000000"), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.source.Load(t.Context(), func(name string) string { return env[name] })
			wantError(t, err, secrets.Invalid, "", c.want)
			if strings.Contains(err.Error(), key[:12]) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("the error shows the key, or alters the terminal: %q", err)
			}
		})
	}
	if _, err := (Source{Credential: "x"}).Load(t.Context(), func(string) string { return "" }); !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY") {
		t.Error(err)
	}
}

func TestACommandThatHangs(t *testing.T) {
	begun := time.Now()
	_, err := Source{Command: []string{"sh", "-c", "echo waiting for a person >&2; sleep 60 & sleep 60"}}.output(t.Context(), 50*time.Millisecond)
	wantError(t, err, secrets.Invalid, "", "more than 50ms: waiting for a person")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Source{Command: []string{"sleep", "60"}}).Load(ctx, nil); err == nil {
		t.Error("a cancelled one went on")
	}
}
