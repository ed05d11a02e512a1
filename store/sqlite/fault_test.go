package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// wantError checks an error's kind and what it says.
func wantError(t *testing.T, err error, kind secrets.Kind, says ...string) {
	t.Helper()
	if err == nil || secrets.KindOf(err) != kind {
		t.Fatalf("error %v is %v, not %v", err, secrets.KindOf(err), kind)
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	t.Log(err)
}

// filled makes a closed store of many pages and returns its file.
func filled(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "pawl.db")
	s, err := Open(t.Context(), path, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		sec, values := rotating(n)
		if err := s.Create(t.Context(), sec, values); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Fatalf("a closed store is a database and a lock file, not %v", entries)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := read(t, filled(t))
	newer := bytes.Clone(good)
	newer[63] = 99 // user_version
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE secrets (id)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"another program's database": {read(t, foreign), "some other program"},
		"a newer schema":             {newer, "newer Pawl"},
		"garbage":                    {bytes.Repeat([]byte("garbage "), 4096), "damaged"},
		"a short text":               {[]byte("store:\n"), "damaged"},
		"a lost half":                {good[:len(good)/2/4096*4096], "damaged"},
		"a lost byte":                {good[:len(good)-1], "damaged"},
		"only a piece of the header": {good[:60], "damaged"},
		"a broken header":            {append([]byte("SQLite format 3\x00\xff\xff"), good[18:]...), "damaged"},
	} {
		for _, create := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "pawl.db")
				write(t, path, c.content)
				_, err := Open(t.Context(), path, Options{Create: create})
				wantError(t, err, secrets.Invalid, c.says, path)
				if !bytes.Equal(read(t, path), c.content) {
					t.Error("the file was changed")
				}
				if entries, _ := os.ReadDir(dir); len(entries) != 1 {
					t.Errorf("files were left behind: %v", entries)
				}
			})
		}
	}
}

func TestOpenOfNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pawl.db")
	_, err := Open(t.Context(), path, Options{})
	wantError(t, err, secrets.Invalid, path, "does not exist", "pawl init")
	_, err = Open(t.Context(), filepath.Join(dir, "missing", "pawl.db"), Options{Create: true})
	wantError(t, err, secrets.Invalid, filepath.Join(dir, "missing"), "mkdir -p")
	_, err = Open(t.Context(), dir, Options{Create: true})
	wantError(t, err, secrets.Invalid, dir, "not a file")
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Fatalf("files were left behind: %v", entries)
	}

	write(t, path, nil)
	_, err = Open(t.Context(), path, Options{})
	wantError(t, err, secrets.Invalid, path, "is empty", "pawl init")
	write(t, path+"-wal", []byte("log"))
	_, err = Open(t.Context(), path, Options{Create: true})
	wantError(t, err, secrets.Invalid, path, "log", "backup")
	if got := read(t, path+"-wal"); string(got) != "log" {
		t.Error("the log was changed")
	}
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	// An empty file alone is what a creation that was killed leaves.
	open(t, path)
}

func TestDamageInside(t *testing.T) {
	path := filled(t)
	b := read(t, path)
	for i := 4096; i < len(b); i++ {
		b[i] = 0xff
	}
	write(t, path, b)
	s, err := Open(t.Context(), path, Options{})
	if err == nil {
		_, err = s.Find(t.Context(), secrets.ID{ARN: arn(1)})
		wantError(t, err, secrets.Invalid, path, "damaged", "backup")
		_, err = s.Update(t.Context(), arn(1), func(*service.Secret) (service.Sealed, error) { return nil, nil })
		_ = s.Close()
	}
	wantError(t, err, secrets.Invalid, path, "damaged", "backup")
	if !bytes.Equal(read(t, path), b) {
		t.Error("the file was changed")
	}
}

func TestWithoutTheRightToWrite(t *testing.T) {
	for name, modes := range map[string][2]fs.FileMode{
		"a folder that cannot be written": {0o555, 0o666},
		"a file that cannot be written":   {0o777, 0o444},
		"neither":                         {0o555, 0o444},
	} {
		t.Run(name, func(t *testing.T) {
			// t.TempDir is closed to other users.
			dir, err := os.MkdirTemp("", "pawl")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700); _ = os.RemoveAll(dir) })
			path := filepath.Join(dir, "pawl.db")
			before := read(t, filled(t))
			write(t, path, before)
			if err := errors.Join(os.Chmod(path, modes[1]), os.Chmod(dir, modes[0])); err != nil {
				t.Fatal(err)
			}
			c := startChild(t, "open as nobody", path)
			got := c.line()
			if !strings.HasPrefix(got, "invalid ") || !strings.Contains(got, path) || !strings.Contains(got, "writ") {
				t.Errorf("it said %q", got)
			}
			t.Log(got)
			if err := c.cmd.Wait(); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(read(t, path), before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestBusy(t *testing.T) {
	path := filled(t)
	s, err := Open(t.Context(), path, Options{BusyTimeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, patient := open(t, path), open(t, path)
	// The other store stands for a process that does not end its transaction.
	if err := other.w.run("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	change := func(sec *service.Secret) (service.Sealed, error) { sec.Description += "x"; return nil, nil }
	_, err = s.Update(t.Context(), arn(1), change)
	wantError(t, err, secrets.Transient, path, "busy")
	_, err = Open(t.Context(), path, Options{BusyTimeout: 500 * time.Millisecond})
	wantError(t, err, secrets.Transient, path, "busy")
	// It would wait for ever if it waited.
	_, err = other.Find(t.Context(), secrets.ID{ARN: arn(1)})
	if err != nil {
		t.Errorf("readers wait for a writer: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = patient.Update(ctx, arn(1), change)
	wantError(t, err, secrets.Transient)
	if err := other.w.run("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), arn(1), change); err != nil {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a b?c#d%e'f.db")
	s := open(t, path)
	sec, values := rotating(1)
	if err := s.Create(t.Context(), sec, values); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Error(err)
		} else if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 4 {
		t.Errorf("there are other files: %v", entries)
	}
}

func TestCloseWritesTheLogBack(t *testing.T) {
	path := filled(t)
	open(t, path) // so that the other is not the last one
	other, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Update(t.Context(), arn(1), func(sec *service.Secret) (service.Sealed, error) {
		sec.Description = "a mark that is easy to find"
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = other.Find(t.Context(), secrets.ID{ARN: arn(1)})
	wantError(t, err, secrets.Invalid, "closed")
	_, err = other.Update(t.Context(), arn(1), func(*service.Secret) (service.Sealed, error) { return nil, nil })
	wantError(t, err, secrets.Invalid, "closed")
	if err := other.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	// Read by another process: no descriptor of this file may be closed here.
	if out := startChild(t, "grep", path, "a mark that is easy to find").line(); out != "true" {
		t.Errorf("what was written is not in the file, although nobody needs the log: %s", out)
	}
}

func TestTwoHandlesInOneProcess(t *testing.T) {
	path := filled(t)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	a, b := open(t, path), open(t, link)
	claim, err := a.Lock(t.Context(), arn(1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Lock(t.Context(), arn(1))
	wantError(t, err, secrets.Conflict, arn(1).Name)
	c, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Closing a handle gives up nobody's claim, not even its own.
	mine, err := c.Lock(t.Context(), arn(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		_, err = b.Lock(t.Context(), arn(n))
		wantError(t, err, secrets.Conflict, arn(n).Name)
	}
	if out := startChild(t, "hold", path).line(); out != "held" {
		t.Errorf("another process: %s", out)
	}
	claim.Release()
	mine.Release()
	for n := 1; n <= 2; n++ {
		claim, err := b.Lock(t.Context(), arn(n))
		if err != nil {
			t.Fatal(err)
		}
		claim.Release()
	}
}

func TestAWrongKeyFileIsNoticedBeforeAnythingIsWritten(t *testing.T) {
	path := filled(t)
	s := open(t, path)
	var rings [2]*seal.Keyring
	for i := range rings {
		file := filepath.Join(t.TempDir(), "pawl.key")
		if err := seal.GenerateKeyFile(file, rand.Reader); err != nil {
			t.Fatal(err)
		}
		k, err := seal.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		rings[i] = k
	}
	for range 2 {
		if err := rings[0].Verify(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := read(t, path)
	again, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, rings[1].Verify(t.Context(), again), secrets.Invalid, rings[0].KeyID(), rings[1].KeyID(), "key_file")
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, path), before) {
		t.Error("the store was changed")
	}
}
