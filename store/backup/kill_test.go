package backup

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// The test binary runs itself to write a backup or to restore one, and to be
// killed at it: of the store, by the key file, to or from the file that its
// arguments name.
const childEnv = "PAWL_BACKUP_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := child(context.Background(), job, os.Args[1], os.Args[2], os.Args[3]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(ctx context.Context, job, path, keyFile, file string) error {
	m, err := seal.Source{File: keyFile}.Load(ctx, nil)
	if err != nil {
		return err
	}
	fmt.Println("begins")
	if job == "restore" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = Reader{Master: m}.Restore(ctx, f, Target{Path: path, Now: time.Now})
		return err
	}
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	b := Writer{Store: store, Keys: seal.New(seal.Config{Master: m, Store: store}), Now: time.Now}
	return WriteFile(file, false, func(w io.Writer) error {
		_, err := b.Write(ctx, w)
		return err
	})
}

// killed does a job in other processes, which are killed at random instants, until
// one ends by itself; look is called after each kill.
func killed(t *testing.T, job string, look func(), args ...string) {
	t.Helper()
	servertest.Killed(t, 10*time.Millisecond, func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
		cmd.Env = append(os.Environ(), childEnv+"="+job, "GORACE=atexit_sleep_ms=0")
		return cmd
	}, look)
}

// noValue makes sure that no value is in any file of a folder.
func noValue(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(canary)) {
			t.Errorf("a value is in %s", f.Name())
		}
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
		names = append(names, f.Name())
	}
	return names
}

func TestBackupKilledAnywhere(t *testing.T) {
	h := build(t, 60)
	dir := t.TempDir()
	file := filepath.Join(dir, "pawl.age")
	whole := func() {
		for _, name := range noValue(t, dir) {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("prod/db")) {
				t.Errorf("%s is not encrypted", name)
			}
			if name == "pawl.age" {
				if _, err := (Reader{Master: h.master}).Verify(t.Context(), bytes.NewReader(text)); err != nil {
					t.Errorf("a part of a backup has its name: %v", err)
				}
				if err := os.Remove(file); err != nil { // it was whole just before the kill
					t.Fatal(err)
				}
			} else if !strings.HasPrefix(name, "pawl.age.tmp-") {
				t.Errorf("%s was left", name)
			}
		}
	}
	killed(t, "backup", whole, h.path(), h.keyFile(), file)
	whole()
}

func TestRestoreKilledAnywhere(t *testing.T) {
	h := build(t, 60)
	want := everything(t, h.store)
	src := filepath.Join(t.TempDir(), "pawl.age")
	if err := os.WriteFile(src, h.backup(t), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "pawl.db")
	look := func() {
		for _, name := range noValue(t, dir) {
			switch {
			case name == "pawl.db.lock", strings.HasPrefix(name, "pawl.db.restoring"):
			case name == "pawl.db": // in place just before the kill
				whole(t, path, want)
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s was left", name)
			}
		}
	}
	killed(t, "restore", look, path, h.keyFile(), src)
	nothingBeside(t, path)
	whole(t, path, want)
}

func whole(t *testing.T, path string, want []entry) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if diff := cmp.Diff(want, everything(t, store)); diff != "" {
		t.Errorf("a part of a store has its name:\n%s", diff)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "b.age")
	write := func(text string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
	}
	has := func(want string) {
		t.Helper()
		if text, err := os.ReadFile(file); err != nil || string(text) != want {
			t.Errorf("%q, %v", text, err)
		}
		if found := noValue(t, dir); len(found) != 1 {
			t.Errorf("left: %v", found)
		}
	}
	if err := WriteFile(file, false, write("1")); err != nil {
		t.Fatal(err)
	}
	has("1")
	if err := WriteFile(file, false, write("2")); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Error(err)
	}
	has("1")
	if err := WriteFile(file, true, func(io.Writer) error { return io.ErrShortWrite }); err == nil {
		t.Error("no error")
	}
	has("1")
	if err := WriteFile(file, true, write("3")); err != nil {
		t.Error(err)
	}
	has("3")
	// One that comes into being meanwhile stays.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(file, false, func(io.Writer) error { return os.WriteFile(file, []byte("4"), 0o600) }); err == nil {
		t.Error("no error")
	}
	has("4")
	if err := WriteFile(filepath.Join(dir, "none", "b.age"), false, write("")); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Error(err)
	}
}
