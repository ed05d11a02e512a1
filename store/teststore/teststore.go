// Package teststore gives tests real stores: SQLite's, or PostgreSQL's where the
// environment says so, so that one test is run on both.
//
// PAWL_TEST_STORE=postgres is any PostgreSQL of this machine, postgres15 or
// postgres18 that one. A package's tests share one server, and each store has a
// database of its own there. Their TestMain calls [Main].
package teststore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// variable says which store.
const variable = "PAWL_TEST_STORE"

// Store is all that Pawl keeps.
type Store interface {
	service.Store
	principals.Store
	seal.Store
}

// Data is what a store keeps, apart from who has it open.
type Data interface {
	// Open opens it, each time as another process would. It is closed with the
	// test, which fails if that does.
	Open(t testing.TB) Store
	// Lines is the store: block of a configuration file. The key is in pawl.key,
	// beside the file.
	Lines() string
}

// OnPostgres reports whether the tests are on PostgreSQL.
func OnPostgres() bool { return kind() != "" }

// kind is the server to keep stores at; "" = in SQLite's files.
func kind() servers.Kind {
	switch k := servers.Kind(os.Getenv(variable)); k {
	case "", "sqlite":
		return ""
	case servers.AnyPostgres, servers.Postgres15, servers.Postgres18:
		return k
	default:
		panic(fmt.Sprintf("%s=%s: write sqlite, %s, %s or %s", variable, k, servers.AnyPostgres, servers.Postgres15, servers.Postgres18))
	}
}

// New makes a store with nothing in it.
func New(t testing.TB) Data {
	t.Helper()
	if k := kind(); k != "" {
		return newDatabase(t, k)
	}
	return newFile(t)
}

// Open makes a store and a key for it, and opens both.
func Open(t testing.TB) (Store, *seal.Keyring) {
	t.Helper()
	keys, err := seal.Load(KeyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	return New(t).Open(t), keys
}

// KeyFile makes a key file in a folder of its own.
func KeyFile(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pawl.key")
	if err := seal.GenerateKeyFile(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return path
}

// SkipOnPostgres is for a test of what only SQLite has, and says what that is.
func SkipOnPostgres(t testing.TB, why string) {
	t.Helper()
	if OnPostgres() {
		t.Skip("only with SQLite: " + why)
	}
}

// Main runs a package's tests, as [servertest.Main] does, and ends what they
// shared.
func Main(m *testing.M) int {
	return servertest.MainOf(func() int {
		defer endAdmins()
		return m.Run()
	})
}

// Fresh is a store for a test that looks at what other processes do: what Find
// returns is what the store has by then, also where stores remember for a while.
func Fresh(s Store) Store {
	if !OnPostgres() {
		return s
	}
	return fresh{s}
}

// fresh reads records as updates do, which never take one from memory.
type fresh struct{ Store }

var errLooked = errors.New("it was only looked at")

func (f fresh) Find(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	known, err := f.Store.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	var found service.Secret
	_, err = f.Store.Update(ctx, known.ARN, func(now *service.Secret) (service.Sealed, error) {
		found = *now
		return nil, errLooked
	})
	if !errors.Is(err, errLooked) {
		return nil, err
	}
	return &found, nil
}

// closing closes a store with the test.
func closing(t testing.TB, s Store) Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// within is a context for making and unmaking stores, which a test's own end does
// not cut short.
func within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}
