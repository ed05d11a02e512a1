package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// rig is one real server and its administrator's connection.
type rig struct {
	*servers.Server
	db     *sql.DB
	engine engines.Engine
}

func (r *rig) maria() bool { return r.Kind == servers.MariaDB }

// each runs a test on a MariaDB and a MySQL that other tests use too.
func each(t *testing.T, f func(t *testing.T, r *rig)) {
	for _, kind := range []servers.Kind{servers.MariaDB, servers.MySQL} {
		t.Run(string(kind), func(t *testing.T) {
			args := []string{"--general-log=1"}
			if kind == servers.MariaDB {
				args = append(args, "--plugin-load-add=auth_ed25519")
			}
			f(t, newRig(t, servertest.Shared(t, kind, servers.Options{TLS: true, Args: args})))
		})
	}
}

// eachOwn runs a test on servers whose global settings it may change, if it
// puts them back: this package's tests run one after another.
func eachOwn(t *testing.T, f func(t *testing.T, r *rig)) {
	for _, kind := range []servers.Kind{servers.MariaDB, servers.MySQL} {
		t.Run(string(kind), func(t *testing.T) { f(t, ownRig(t, kind)) })
	}
}

func ownRig(t *testing.T, kind servers.Kind) *rig {
	args := []string{"--max-connections=50"}
	if kind == servers.MariaDB {
		args = append(args, "--plugin-load-add=auth_ed25519")
	}
	return newRig(t, servertest.Shared(t, kind, servers.Options{Args: args}))
}

func newRig(t *testing.T, s *servers.Server) *rig {
	c, err := s.MySQLConfig(s.Admin, s.AdminPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	connector, err := driver.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Server: s, db: sql.OpenDB(connector), engine: New()[0]}
	if r.maria() {
		r.engine = New()[1]
	}
	t.Cleanup(func() { r.db.Close() })
	return r
}

// do runs statements as the administrator. They are written for a server
// without backslash escapes.
func (r *rig) do(t *testing.T, statements ...string) {
	t.Helper()
	conn, err := r.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range append([]string{"SET SESSION sql_mode='NO_BACKSLASH_ESCAPES'"}, statements...) {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// column returns a query's first column, read under the parser's mode.
func (r *rig) column(t *testing.T, query string) []string {
	t.Helper()
	conn, err := r.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A MySQL's hashes are arbitrary bytes, which it does not escape.
	if _, err := conn.ExecContext(t.Context(), "SET SESSION sql_mode='NO_BACKSLASH_ESCAPES'/*!80021 , print_identified_with_as_hex=1*/"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		values := make([]any, len(columns))
		var first sql.NullString
		values[0] = &first
		for i := 1; i < len(values); i++ {
			values[i] = new(sql.RawBytes)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		out = append(out, first.String)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *rig) endpoint() engines.Endpoint {
	return engines.Endpoint{Host: r.Host, Port: r.Port, TLS: engines.TLS{Mode: secrets.TLSDisable}, Guard: 30 * time.Second}
}

// dial logs in and expects to succeed.
func (r *rig) dial(t *testing.T, user, password string) *session {
	t.Helper()
	s, err := r.engine.Dial(t.Context(), r.endpoint(), engines.Login{Username: user, Password: secrets.NewPassword(password)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*session)
}

// root is a session of the server's administrator.
func (r *rig) root(t *testing.T) *session { return r.dial(t, r.Admin, r.AdminPassword) }

// login tries a credential and proves the identity.
func (r *rig) login(t *testing.T, user, password string) error {
	t.Helper()
	s, err := r.engine.Dial(t.Context(), r.endpoint(), engines.Login{Username: user, Password: secrets.NewPassword(password)})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Check(t.Context(), engines.Check{Query: "SELECT 1"})
}

// mustLogin and mustNotLogin judge a password by the server.
func (r *rig) mustLogin(t *testing.T, user, password string) {
	t.Helper()
	if err := r.login(t, user, password); err != nil {
		t.Errorf("%q cannot log in: %v", user, err)
	}
}

func (r *rig) mustNotLogin(t *testing.T, user, password string) {
	t.Helper()
	if err := r.login(t, user, password); secrets.KindOf(err) != secrets.Denied {
		t.Errorf("%q with a password that should be dead: %v", user, err)
	}
}

var counter atomic.Int64

// fresh makes a name that no other test has.
func fresh(prefix string) string { return fmt.Sprintf("%s%d", prefix, counter.Add(1)) }

// user creates an account of the server's usual plug-in, or of plugin.
func (r *rig) user(t *testing.T, user, host, plugin, password string) {
	t.Helper()
	clause := " IDENTIFIED WITH " + plugin + " BY " + quote(password)
	switch {
	case plugin == "" && r.maria():
		plugin = nativePlugin
		fallthrough
	case r.maria():
		clause = " IDENTIFIED VIA " + plugin + " USING PASSWORD(" + quote(password) + ")"
	case plugin == "":
		clause = " IDENTIFIED BY " + quote(password)
	}
	r.do(t, "CREATE USER "+account(user, host)+clause)
}

// plugins are those that Pawl makes hashes for, on this server.
func (r *rig) plugins() []string {
	if r.maria() {
		return []string{nativePlugin, ed25519Plugin}
	}
	return []string{sha2Plugin}
}

func (r *rig) plugin(t *testing.T, user string) string {
	t.Helper()
	return strings.Join(r.column(t, "SELECT plugin FROM mysql.user WHERE User = "+quote(user)+" ORDER BY Host"), " ")
}

// set changes a password through the administrator.
func (r *rig) set(t *testing.T, user, password string) error {
	t.Helper()
	s := r.root(t)
	defer s.Close()
	return s.SetPassword(t.Context(), change(user, password))
}

func change(user, password string) engines.PasswordChange {
	return engines.PasswordChange{Username: user, New: secrets.NewPassword(password)}
}

// setSelf changes the user's own password.
func (r *rig) setSelf(t *testing.T, user, old, password string) error {
	t.Helper()
	s := r.dial(t, user, old)
	defer s.Close()
	c := change(user, password)
	c.Self, c.Old = true, secrets.NewPassword(old)
	if err := s.Preflight(t.Context(), c); err != nil {
		return err
	}
	return s.SetPassword(t.Context(), c)
}

// want fails unless the error is of the kind and mentions all texts.
func want(t *testing.T, err error, kind secrets.Kind, texts ...string) {
	t.Helper()
	if err == nil || secrets.KindOf(err) != kind {
		t.Errorf("want a %s error, got %v", kind, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("want %q in: %v", text, err)
		}
	}
}

// tlsFor is the endpoint's TLS with the server's own authority.
func (r *rig) tlsFor(t *testing.T, mode string) engines.TLS {
	t.Helper()
	c, err := engines.NewTLS(secrets.TLSRules{Mode: mode, CAFile: r.CAFile}, r.Host, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// within bounds what a test waits for a server to do.
func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, limit)
		case <-tick.C:
		}
	}
}
