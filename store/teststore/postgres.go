package teststore

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/postgres"
)

// Database is a store in a database of its own.
type Database struct {
	Server   *servers.Server
	Name     string
	password string
	file     string // that has the password
}

// options of the server: many stores are open at a time.
var options = servers.Options{Args: []string{"-c", "max_connections=500"}}

func newDatabase(t testing.TB, k servers.Kind) *Database {
	t.Helper()
	a := adminOf(t, k)
	d := &Database{Server: a.server, password: a.password, file: filepath.Join(t.TempDir(), "password")}
	if err := os.WriteFile(d.file, []byte(d.password), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := a.take()
	if err != nil {
		t.Fatal(err)
	}
	d.Name = b.name
	t.Cleanup(func() {
		if err := a.giveBack(b); err != nil {
			t.Error(err)
		}
	})
	return d
}

// DSN is how a user reaches the database, without the password.
func (d *Database) DSN() string { return dsn(d.Server, role, d.Name) }

func dsn(s *servers.Server, user, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Host: fmt.Sprintf("%s:%d", s.Host, s.Port), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Config is what postgres.Open takes.
func (d *Database) Config() postgres.Config {
	return postgres.Config{DSN: d.DSN(), Password: secrets.NewPassword(d.password), MaxConnections: 4}
}

// Open implements Data.
func (d *Database) Open(t testing.TB) Store {
	t.Helper()
	store, err := postgres.Open(t.Context(), d.Config())
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, store)
}

// Lines implements Data.
func (d *Database) Lines() string {
	return "store:\n  postgres:\n    dsn: " + d.DSN() + "\n    password_file: " + d.file + "\n    key_file: pawl.key\n"
}
