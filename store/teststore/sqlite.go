package teststore

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/store/sqlite"
)

// File is a store in SQLite's file at a path.
type File string

// Open implements Data.
func (f File) Open(t testing.TB) Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), string(f), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, store)
}

// Lines implements Data.
func (f File) Lines() string {
	return "store:\n  sqlite:\n    path: " + string(f) + "\n    key_file: pawl.key\n"
}

// emptyFile is the file of a store with nothing in it: hundreds of tests want one, and
// making it takes longer than what they do with it.
var emptyFile = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "pawl-blank-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "pawl.db")
	store, err := sqlite.Open(context.Background(), path, sqlite.Options{Create: true})
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func newFile(t testing.TB) File {
	t.Helper()
	content, err := emptyFile()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pawl.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return File(path)
}
