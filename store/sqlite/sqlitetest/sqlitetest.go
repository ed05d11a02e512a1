// Package sqlitetest opens real stores for tests.
package sqlitetest

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"

	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// Open makes a store and its keys in a folder of their own. It is closed with the
// test, which fails if that does.
func Open(t testing.TB) (*sqlite.Store, *seal.Keyring) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "pawl.key")
	if err := seal.GenerateKeyFile(key, rand.Reader); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Load(key)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(context.Background(), filepath.Join(dir, "pawl.db"), sqlite.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store, keys
}
