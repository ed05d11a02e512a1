package teststore

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/postgres"
)

const (
	role     = "pawl"       // whom Pawl logs in as: not who owns the schema
	template = "pawl_blank" // a database that was migrated, and has nothing in it
)

// Database is a store in a database of its own.
type Database struct {
	Server   *servers.Server
	Name     string
	password string
	file     string // that has the password
}

// options of the server: its data need not outlive it, and many stores are open at
// a time.
var options = servers.Options{Args: []string{"-c", "max_connections=500", "-c", "autovacuum=off"}}

// admin makes and drops databases at a server. One connection does: the server does
// one of these at a time anyway.
type admin struct {
	server   *servers.Server
	password string // of role

	once sync.Once // makes role and template
	err  error

	mu   sync.Mutex
	conn *pgx.Conn
	made int
}

var admins = struct {
	sync.Mutex
	of map[servers.Kind]*admin
}{of: map[servers.Kind]*admin{}}

func newDatabase(t testing.TB, k servers.Kind) *Database {
	t.Helper()
	server := servertest.Shared(t, k, options)
	admins.Lock()
	a := admins.of[k]
	if a == nil {
		a = &admin{server: server, password: rand.Text()}
		admins.of[k] = a
	}
	admins.Unlock()
	if a.once.Do(func() { a.err = a.prepare() }); a.err != nil {
		t.Fatal(a.err)
	}
	d := &Database{Server: server, password: a.password, file: filepath.Join(t.TempDir(), "password")}
	if err := os.WriteFile(d.file, []byte(d.password), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.Name, err = a.create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Whoever was killed may still be connected.
		if err := a.do("drop database " + d.Name + " with (force)"); err != nil {
			t.Error(err)
		}
	})
	return d
}

// prepare makes the role and the template.
func (a *admin) prepare() error {
	ctx, cancel := within()
	defer cancel()
	config, err := a.server.PostgresConfig(a.server.Admin, a.server.AdminPassword, "postgres")
	if err != nil {
		return err
	}
	if a.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return err
	}
	verifier, err := cheapVerifier(a.password)
	if err != nil {
		return err
	}
	for _, sql := range []string{"create role " + role + " login password '" + verifier + "'", "create database " + template} {
		if err := a.do(sql); err != nil {
			return err
		}
	}
	owner := postgres.Config{DSN: dsn(a.server, a.server.Admin, template), Password: secrets.NewPassword(a.server.AdminPassword)}
	_, _, err = postgres.Migrate(ctx, owner, role)
	return err
}

// create makes a database with nothing in it.
func (a *admin) create() (name string, err error) {
	a.mu.Lock()
	a.made++
	name = fmt.Sprintf("pawl_%d", a.made)
	a.mu.Unlock()
	sql := "create database " + name + " template " + template
	if !strings.HasPrefix(a.server.Version, "14.") { // which has no other strategy
		sql += " strategy file_copy" // the quickest where nothing has to reach the disk
	}
	return name, a.do(sql)
}

func (a *admin) do(sql string) error {
	ctx, cancel := within()
	defer cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%.20s…: %w", sql, err)
	}
	return nil
}

// endAdmins ends the connections of all admins.
func endAdmins() {
	admins.Lock()
	defer admins.Unlock()
	for _, a := range admins.of {
		if a.conn != nil {
			_ = a.conn.Close(context.Background())
		}
	}
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
	return closing(t, any(store).(Store))
}

// Lines implements Data.
func (d *Database) Lines() string {
	return "store:\n  postgres:\n    dsn: " + d.DSN() + "\n    password_file: " + d.file + "\n    key_file: pawl.key\n"
}

// cheapVerifier is what PostgreSQL keeps of a SCRAM-SHA-256 password (PostgreSQL
// documentation, "pg_authid"), of one round instead of thousands: tests connect
// all the time, and with the race detector the rounds are most of it.
func cheapVerifier(password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails: crypto/rand
	salted, err := pbkdf2.Key(sha256.New, password, salt, 1, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$1:%s$%s:%s", b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
