package postgres

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
)

// The test binary runs itself as another process: the variable says what to do, the
// arguments follow it.
const childEnv = "PAWL_POSTGRES_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := children[job](os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(servertest.Main(m))
}

// Who the tests are at a server: one owns schemas, the other one is a running Pawl.
const (
	owner, ownerPassword   = "schema_owner", "Owner's-1"
	runner, runnerPassword = "pawl-app", "Pawl's password=1"
)

// lab is a shared server with databases for tests.
type lab struct {
	*servers.Server
	mu    sync.Mutex
	made  int
	spare []string // migrated databases with nothing in them
}

var labs = struct {
	sync.Mutex
	byKind map[servers.Kind]*lab
}{byKind: map[servers.Kind]*lab{}}

// at returns the lab of a kind of server.
func at(t testing.TB, kind servers.Kind) *lab {
	t.Helper()
	s := servertest.Shared(t, kind)
	labs.Lock()
	defer labs.Unlock()
	if l := labs.byKind[kind]; l != nil {
		return l
	}
	l := &lab{Server: s}
	l.makeRoles(t)
	labs.byKind[kind] = l
	return l
}

func (l *lab) makeRoles(t testing.TB) {
	t.Helper()
	l.exec(t, "postgres",
		"CREATE ROLE "+owner+" LOGIN PASSWORD "+quote(ownerPassword),
		"CREATE ROLE "+pgx.Identifier{runner}.Sanitize()+" LOGIN PASSWORD "+quote(runnerPassword))
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// exec runs statements as the administrator.
func (l *lab) exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	config, err := l.PostgresConfig(l.Admin, l.AdminPassword, database)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range statements {
		if _, err := conn.Exec(context.Background(), s, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// empty makes a database with nothing in it, in which the owner may make a schema.
func (l *lab) empty(t testing.TB) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.makeEmpty(t)
}

func (l *lab) makeEmpty(t testing.TB) string {
	t.Helper()
	l.made++
	name := fmt.Sprintf("t%d", l.made)
	l.exec(t, "postgres", "CREATE DATABASE "+name, "GRANT CREATE ON DATABASE "+name+" TO "+owner)
	return name
}

// database returns a migrated database with nothing in it, for one test.
func (l *lab) database(t testing.TB) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var name string
	if n := len(l.spare); n > 0 {
		name, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		name = l.makeEmpty(t)
		if _, _, err := Migrate(context.Background(), l.as(name, owner, ownerPassword), runner); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		l.exec(t, name, "TRUNCATE pawl.secrets, pawl.sealed_values, pawl.leases, pawl.meta, pawl.principals, pawl.access_keys, pawl.named_keys")
		l.mu.Lock()
		defer l.mu.Unlock()
		l.spare = append(l.spare, name)
	})
	return name
}

// as is the configuration of a user's connections.
func (l *lab) as(database, user, password string) Config {
	u := url.URL{Scheme: "postgres", User: url.User(user), Host: net.JoinHostPort(l.Host, strconv.Itoa(l.Port)), Path: "/" + database}
	return Config{DSN: u.String(), Password: secrets.NewPassword(password)}
}

// config is that of a running Pawl's connections.
func (l *lab) config(database string) Config { return l.as(database, runner, runnerPassword) }

// open opens a store as a running Pawl does.
func (l *lab) open(t testing.TB, database string) *Store {
	t.Helper()
	return openStore(t, l.config(database))
}

func openStore(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// value runs a query of one value as the administrator.
func value[T any](t testing.TB, l *lab, database, query string, args ...any) (v T) {
	t.Helper()
	config, err := l.PostgresConfig(l.Admin, l.AdminPassword, database)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// wantError checks the kind of an error and words that it has to say.
func wantError(t testing.TB, err error, kind secrets.Kind, words ...string) {
	t.Helper()
	if err == nil || secrets.KindOf(err) != kind {
		t.Errorf("error %v is %v, not %v", err, secrets.KindOf(err), kind)
		return
	}
	for _, w := range append(words, "") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), runnerPassword) || strings.Contains(err.Error(), ownerPassword) {
		t.Errorf("%q tells a password", err)
	}
}
