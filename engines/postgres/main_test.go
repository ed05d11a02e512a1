package postgres

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// chatty is the shared server of most tests: it offers TLS, takes plain
// connections too, and writes every statement into its log.
var chatty = servers.Options{TLS: true, Args: []string{"-c", "log_statement=all"}}

var versions = []servers.Kind{servers.Postgres15, servers.Postgres18}

// onEach runs a test on every version of PostgreSQL.
func onEach(t *testing.T, test func(t *testing.T, f *fixture)) {
	for _, kind := range versions {
		t.Run(string(kind), func(t *testing.T) { test(t, newFixture(t, servertest.Shared(t, kind, chatty))) })
	}
}

// replica is the shared replica of a shared server. It offers no TLS.
func replica(t *testing.T) *servers.Server {
	primary := servertest.Shared(t, servers.Postgres15, chatty)
	return servertest.Shared(t, servers.Postgres15, servers.Options{ReplicaOf: primary})
}

// fixture is a server and its administrator's connection.
type fixture struct {
	*testing.T
	server *servers.Server
	admin  *pgx.Conn
}

func newFixture(t *testing.T, s *servers.Server) *fixture {
	f := &fixture{T: t, server: s}
	f.admin = f.raw(s.Admin, s.AdminPassword, "postgres")
	return f
}

func (f *fixture) newer() bool { return f.server.Kind == servers.Postgres18 }

// raw logs in by pgx itself, and so tells what an application would find.
func (f *fixture) raw(user, password, database string) *pgx.Conn {
	f.Helper()
	conn, err := f.tryRaw(user, password, database)
	if err != nil {
		f.Fatal(err)
	}
	return conn
}

func (f *fixture) tryRaw(user, password, database string) (*pgx.Conn, error) {
	f.Helper()
	config, err := f.server.PostgresConfig(user, password, database)
	if err != nil {
		f.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(f.ctx(), config)
	if err == nil {
		f.Cleanup(func() { conn.Close(context.Background()) })
	}
	return conn, err
}

func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	f.Cleanup(cancel)
	return ctx
}

func (f *fixture) exec(conn *pgx.Conn, sql string) {
	f.Helper()
	if _, err := conn.Exec(f.ctx(), sql); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

// sql runs statements as the administrator.
func (f *fixture) sql(statements ...string) {
	f.Helper()
	for _, s := range statements {
		f.exec(f.admin, s)
	}
}

func (f *fixture) value(conn *pgx.Conn, sql string) string {
	f.Helper()
	var v *string
	if err := conn.QueryRow(f.ctx(), sql).Scan(&v); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
	if v == nil {
		return "NULL"
	}
	return *v
}

var serial atomic.Int64

// name makes a name that no other test uses.
func name(prefix string) string { return fmt.Sprintf("%s_%d", prefix, serial.Add(1)) }

// role makes a login role.
func (f *fixture) role(prefix, options string) (user, password string) {
	f.Helper()
	user, password = name(prefix), name("Old-pass")
	f.roleNamed(user, password, options)
	return user, password
}

func (f *fixture) roleNamed(user, password, options string) {
	f.Helper()
	f.sql("CREATE ROLE " + quoteIdent(user) + " LOGIN PASSWORD " + quoteLiteral(password))
	if options != "" {
		f.sql("ALTER ROLE " + quoteIdent(user) + " " + options)
	}
}

// database makes a database.
func (f *fixture) database(owner string) string {
	f.Helper()
	db := name("db")
	f.sql("CREATE DATABASE " + quoteIdent(db) + " OWNER " + quoteIdent(owner))
	return db
}

func (f *fixture) endpoint() engines.Endpoint {
	return engines.Endpoint{Host: f.server.Host, Port: f.server.Port, Database: "postgres", TLS: engines.TLS{Mode: secrets.TLSDisable}, Guard: 20 * time.Second}
}

func login(user, password string) engines.Login {
	return engines.Login{Username: user, Password: secrets.NewPassword(password)}
}

// session logs in by the engine under test.
func (f *fixture) session(user, password string) *session {
	f.Helper()
	return f.sessionAt(f.endpoint(), user, password)
}

func (f *fixture) sessionAt(at engines.Endpoint, user, password string) *session {
	f.Helper()
	s, err := New().Dial(f.ctx(), at, login(user, password))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	return s.(*session)
}

func (f *fixture) super() *session {
	f.Helper()
	return f.session(f.server.Admin, f.server.AdminPassword)
}

// must fails the test on an error.
func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// wantError checks the kind of an error, the server in it, and words that it
// has to say.
func (f *fixture) wantError(err error, kind secrets.Kind, words ...string) {
	f.Helper()
	if err == nil {
		f.Fatalf("no error; want %v", kind)
	}
	if got := secrets.KindOf(err); got != kind {
		f.Fatalf("%v: kind is %v, want %v", err, got, kind)
	}
	for _, w := range append(words, f.server.Host+":") {
		if !strings.Contains(err.Error(), w) {
			f.Errorf("%q does not say %q", err, w)
		}
	}
}

// log is what the server's log holds so far.
func (f *fixture) log() string {
	f.Helper()
	log, err := os.ReadFile(f.server.Log)
	if err != nil {
		f.Fatal(err)
	}
	return string(log)
}

// inLog reports whether the server's log holds a text.
func (f *fixture) inLog(text string) bool { return strings.Contains(f.log(), text) }
