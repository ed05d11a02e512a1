package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
)

func mustTLS(t *testing.T, mode string) *tls.Config {
	t.Helper()
	c, err := engines.NewTLS(secrets.TLSRules{Mode: mode}, "localhost", false, false)
	if err != nil {
		t.Fatal(err)
	}
	return c.Config
}

// TestFacts: the registry accepts the engine, by all its names.
func TestFacts(t *testing.T) {
	r := engines.NewRegistry(New())
	for _, n := range []string{"postgres", "postgresql", "aurora-postgresql"} {
		if _, err := r.Lookup(n); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusedLogins meets every refusal that a real server can be made to give.
func TestRefusedLogins(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, password := f.role("login", "")
		noLogin, noLoginPassword := f.role("nologin", "NOLOGIN")
		expired, expiredPassword := f.role("expired", "VALID UNTIL '2001-01-01'")
		single, singlePassword := f.role("limited", "CONNECTION LIMIT 1")
		f.raw(single, singlePassword, "postgres")
		closed, template := f.database("postgres"), f.database("postgres")
		f.sql("REVOKE CONNECT ON DATABASE "+closed+" FROM PUBLIC", "ALTER DATABASE "+template+" ALLOW_CONNECTIONS false")

		for _, c := range []struct {
			what, user, password, database string
			kind                           secrets.Kind
			authenticated                  bool
			says                           string
		}{
			{"wrong password", user, "Wrong-1234", "", secrets.Denied, false, "wrong user name or password"},
			{"unknown user", "nobody-of-this-name", password, "", secrets.Denied, false, "28P01"},
			{"NOLOGIN", noLogin, noLoginPassword, "", secrets.Denied, true, `ALTER ROLE "` + noLogin + `" LOGIN`},
			{"NOLOGIN, wrong password", noLogin, "Wrong-1234", "", secrets.Denied, false, "28P01"},
			{"expired", expired, expiredPassword, "", secrets.Denied, false, "VALID UNTIL"},
			{"connection limit", single, singlePassword, "", secrets.Transient, true, "53300"},
			{"unknown database", user, password, "nowhere", secrets.Invalid, true, "dbname"},
			{"no right to connect", user, password, closed, secrets.Invalid, true, "GRANT CONNECT"},
			{"closed database", user, password, template, secrets.Invalid, true, "55000"},
		} {
			at := f.endpoint()
			if c.database != "" {
				at.Database = c.database
			}
			_, err := New().Dial(f.ctx(), at, login(c.user, c.password))
			t.Run(c.what, func(t *testing.T) {
				f := *f
				f.T = t
				f.wantError(err, c.kind, c.says)
				if secrets.Authenticated(err) != c.authenticated {
					t.Errorf("proves the password: %t", !c.authenticated)
				}
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), c.password) {
					t.Error("the error shows the password")
				}
				var ce *pgconn.ConnectError
				if errors.As(err, &ce) {
					t.Error("the error carries the driver's configuration, and the password in it")
				}
			})
		}
	})
}

func TestUnreachableServers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := listener.Addr().(*net.TCPAddr).Port
	hangup, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := hangup.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1))
			c.Close()
		}
	}()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	defer listener.Close()
	defer hangup.Close()

	for _, c := range []struct {
		what, host string
		port       int
		says       string
	}{
		{"nobody listens", "127.0.0.1", gone.Addr().(*net.TCPAddr).Port, "is the server running"},
		{"nobody answers", "127.0.0.1", silent, "time ran out"},
		{"hangs up", "127.0.0.1", hangup.Addr().(*net.TCPAddr).Port, ""},
		{"no such host", "no-such-host.invalid", 5432, "no-such-host.invalid"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		_, err := New().Dial(ctx, engines.Endpoint{Host: c.host, Port: c.port, Database: "postgres"}, login("app", "Pass-1234"))
		cancel()
		if err == nil || secrets.KindOf(err) != secrets.Transient || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), c.host) {
			t.Errorf("%s: %v", c.what, err)
		}
		if secrets.Authenticated(err) {
			t.Errorf("%s proves no password", c.what)
		}
	}
}

func TestTLS(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, password := f.role("tls", "")
		otherKind := servers.Postgres15
		if !f.newer() {
			otherKind = servers.Postgres18
		}
		other := servertest.Shared(t, otherKind, chatty).CAFile
		for _, c := range []struct {
			rules secrets.TLSRules
			host  string
			says  string // "" = it works
		}{
			{secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: f.server.CAFile}, "127.0.0.1", ""},
			{secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: f.server.CAFile}, "localhost", ""},
			{secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: f.server.CAFile}, "127.0.0.2", "another host name"},
			{secrets.TLSRules{Mode: secrets.TLSVerifyCA, CAFile: f.server.CAFile}, "127.0.0.1", ""},
			{secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: other}, "127.0.0.1", "unknown authority"},
			{secrets.TLSRules{Mode: secrets.TLSVerifyCA, CAFile: other}, "127.0.0.1", "unknown authority"},
			{secrets.TLSRules{Mode: secrets.TLSRequire}, "127.0.0.1", ""},
			{secrets.TLSRules{Mode: secrets.TLSDisable}, "127.0.0.1", ""},
		} {
			at := f.endpoint()
			var err error
			if at.TLS, err = engines.NewTLS(c.rules, c.host, false, false); err != nil {
				t.Fatal(err)
			}
			if c.host == "localhost" {
				at.Host = c.host
			}
			s, err := New().Dial(f.ctx(), at, login(user, password))
			if c.says != "" {
				f.wantErrorAt(err, secrets.Invalid, c.says)
				continue
			}
			if err != nil {
				t.Errorf("%+v: %v", c.rules, err)
				continue
			}
			encrypted := f.value(f.admin, fmt.Sprintf("SELECT ssl::text FROM pg_stat_ssl WHERE pid = %d", s.(*session).conn.PID()))
			if want := fmt.Sprint(c.rules.Mode != secrets.TLSDisable); encrypted != want {
				t.Errorf("%+v: encrypted is %s", c.rules, encrypted)
			}
			f.must(s.Close())
		}
	})
}

// wantErrorAt is wantError for a host that is not the server's.
func (f *fixture) wantErrorAt(err error, kind secrets.Kind, words ...string) {
	f.Helper()
	if err == nil || secrets.KindOf(err) != kind {
		f.Errorf("%v: want %v", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			f.Errorf("%q does not say %q", err, w)
		}
	}
}

// TestHostRules runs a server whose pg_hba.conf demands TLS, a password in the
// clear, or nothing at all.
func TestHostRules(t *testing.T) {
	rules := func(lines string) servers.Options {
		file := filepath.Join(t.TempDir(), "pg_hba.conf")
		if err := os.WriteFile(file, []byte("host all postgres 127.0.0.1/32 scram-sha-256\n"+lines), 0o644); err != nil {
			t.Fatal(err)
		}
		for dir := filepath.Dir(file); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return servers.Options{TLS: true, Args: []string{"-c", "hba_file=" + file}}
	}
	f := newFixture(t, servertest.Start(t, servers.Postgres15, rules(
		"hostssl all tls_only 127.0.0.1/32 scram-sha-256\nhost all clear 127.0.0.1/32 password\nhost all trusted 127.0.0.1/32 trust\n")))
	for _, u := range []string{"tls_only", "clear", "trusted", "unlisted"} {
		f.roleNamed(u, "Pass-1234", "")
	}
	plain, verified := f.endpoint(), f.endpoint()
	var err error
	verified.TLS, err = engines.NewTLS(secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: f.server.CAFile}, f.server.Host, false, false)
	f.must(err)
	required := verified
	required.TLS = engines.TLS{Mode: secrets.TLSRequire, Config: mustTLS(t, secrets.TLSRequire)}
	for _, c := range []struct {
		user string
		at   engines.Endpoint
		says string
	}{
		{"tls_only", plain, "tls.mode"},
		{"tls_only", verified, ""},
		{"clear", plain, "in the clear"},
		{"clear", required, "in the clear"},
		{"clear", verified, ""},
		{"trusted", plain, "without asking for a password"},
		{"unlisted", verified, "pg_hba.conf"},
	} {
		s, err := New().Dial(f.ctx(), c.at, login(c.user, "Pass-1234"))
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", c.user, err)
			} else {
				s.Close()
			}
			continue
		}
		f.wantErrorAt(err, secrets.Invalid, c.says)
		if secrets.Authenticated(err) {
			t.Errorf("%s: %v proves no password", c.user, err)
		}
	}
}

func TestServerWithoutTLS(t *testing.T) {
	f := newFixture(t, replica(t))
	at := f.endpoint()
	at.TLS = engines.TLS{Mode: secrets.TLSRequire, Config: mustTLS(t, secrets.TLSRequire)}
	_, err := New().Dial(f.ctx(), at, login(f.server.Admin, f.server.AdminPassword))
	f.wantError(err, secrets.Invalid, "does not offer TLS")
}

// TestRefusalsOfOtherServers covers what the servers here do not say: PgBouncer
// and states that pass too quickly.
func TestRefusalsOfOtherServers(t *testing.T) {
	for _, c := range []struct {
		pe            pgconn.PgError
		kind          secrets.Kind
		authenticated bool
		says          string
	}{
		{pgconn.PgError{Code: "57P03", Message: "the database system is starting up"}, secrets.Transient, false, "starting up"},
		{pgconn.PgError{Code: "57P01"}, secrets.Transient, false, "57P01"},
		{pgconn.PgError{Code: "53300", Routine: "InitPostgres"}, secrets.Transient, true, "53300"},
		{pgconn.PgError{Code: "53300", Routine: "InitProcess"}, secrets.Transient, false, "53300"},
		{pgconn.PgError{Code: "28000", Routine: "auth_failed"}, secrets.Denied, false, "28000"},
		{pgconn.PgError{Code: "08P01", Message: "SASL authentication failed"}, secrets.Denied, false, "pooler"},
		{pgconn.PgError{Code: "08P01", Message: "no such user"}, secrets.Denied, false, "pooler"},
		{pgconn.PgError{Code: "08P01", Message: "unsupported startup parameter: lock_timeout"}, secrets.Invalid, false, "admin_host"},
		{pgconn.PgError{Code: "08P01", Message: "query_wait_timeout"}, secrets.Transient, false, "pooler"},
		{pgconn.PgError{Code: "0A000", Message: "unsupported"}, secrets.Invalid, false, "0A000"},
		{pgconn.PgError{Code: "X"}, secrets.Invalid, false, "X"},
	} {
		e := loginError(&c.pe, engines.Endpoint{Host: "db", Port: 5432, Database: "d"}, "app")
		if e.Kind != c.kind || e.Authenticated != c.authenticated || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s %s %s: %v (%v, proves the password: %t)", c.pe.Code, c.pe.Routine, c.pe.Message, e, e.Kind, e.Authenticated)
		}
	}
}

// TestOldServer plays a server that knows no idle_session_timeout, as before
// PostgreSQL 14: the guard is left out, not the login.
func TestOldServer(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, password := f.role("old", "")
		logins := 0
		proxy := newProxy(t, f.server, func(m pgproto3.FrontendMessage) (pgproto3.BackendMessage, bool) {
			if s, ok := m.(*pgproto3.StartupMessage); ok {
				logins++
				if _, asked := s.Parameters[idleTimeout]; asked {
					return &pgproto3.ErrorResponse{Severity: "FATAL", Code: "42704", Message: `unrecognized configuration parameter "idle_session_timeout"`}, true
				}
			}
			return nil, false
		})
		at := f.endpoint()
		at.Port = proxy
		s := f.sessionAt(at, user, password)
		f.must(s.Check(f.ctx(), engines.Check{Query: "SELECT 1/(current_setting('lock_timeout') = '20s')::int"}))
		if logins != 2 {
			t.Errorf("%d logins", logins)
		}
	})
}

func TestGuardIsSetAtLogin(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, password := f.role("guarded", "")
		f.sql("ALTER ROLE " + user + " SET default_transaction_read_only = on")
		guarded, bare := f.endpoint(), f.endpoint()
		guarded.Guard, bare.Guard = 90*time.Second, 0
		settings := func(at engines.Endpoint) string {
			s := f.sessionAt(at, user, password)
			tables, err := s.query(f.ctx(), `SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), current_setting('idle_session_timeout'),
				current_setting('default_transaction_read_only'), current_setting('application_name'), current_setting('client_encoding')`)
			f.must(err)
			var all []string
			for _, v := range tables[0][0] {
				all = append(all, string(v))
			}
			return strings.Join(all, " ")
		}
		if got := settings(guarded); got != "90s 90s 90s off pawl UTF8" {
			t.Errorf("guarded: %s", got)
		}
		if got := settings(bare); got != "0 0 0 on pawl UTF8" {
			t.Errorf("bare: %s", got)
		}
	})
}
