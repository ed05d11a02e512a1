package postgres

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// within is a context for what must not take long.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestErrorsOfOpen(t *testing.T) {
	l := at(t, servers.Postgres15)
	tls := servertest.Shared(t, servers.Postgres18, servers.Options{TLS: true})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // never says anything
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	db := l.database(t)
	l.exec(t, "postgres", "CREATE ROLE nobody_yet NOLOGIN PASSWORD 'x'", "CREATE ROLE few LOGIN PASSWORD 'x' CONNECTION LIMIT 0",
		"CREATE DATABASE shut", "REVOKE CONNECT ON DATABASE shut FROM PUBLIC")
	dsn := func(host string, port int, rest string) string {
		return (&url.URL{Scheme: "postgres", User: url.User(runner), Host: fmt.Sprintf("%s:%d", host, port)}).String() + rest
	}
	to := func(addr net.Addr) string { return dsn("127.0.0.1", addr.(*net.TCPAddr).Port, "/pawl") }
	password := secrets.NewPassword(runnerPassword)
	for name, c := range map[string]struct {
		config Config
		kind   secrets.Kind
		words  []string
	}{
		"wrong password":    {l.as(db, runner, "wrong"), secrets.Denied, []string{"refuses the login", "28P01", "store.postgres.dsn"}},
		"no such user":      {l.as(db, "nobody", "wrong"), secrets.Denied, []string{"refuses the login"}},
		"may not log in":    {l.as(db, "nobody_yet", "x"), secrets.Denied, []string{"refuses the login"}},
		"no such database":  {l.as("none", runner, runnerPassword), secrets.Invalid, []string{"does not exist", "CREATE DATABASE"}},
		"may not connect":   {l.as("shut", runner, runnerPassword), secrets.Denied, []string{"42501"}},
		"no connection":     {l.as(db, "few", "x"), secrets.Transient, []string{"takes no more connections"}},
		"nobody listens":    {Config{DSN: to(free.Addr()), Password: password}, secrets.Transient, []string{"can't be reached", "store.postgres.dsn"}},
		"nobody answers":    {Config{DSN: to(silent.Addr()), Password: password}, secrets.Transient, []string{"did not answer in time"}},
		"no such host":      {Config{DSN: dsn("no-such-host.invalid", 5432, "/pawl?sslmode=disable"), Password: password}, secrets.Transient, []string{"no-such-host.invalid"}},
		"a pooler":          {Config{DSN: to(pooler(t)), Password: password}, secrets.Invalid, []string{"unsupported startup parameter", "08P01", "PgBouncer"}},
		"no TLS":            {Config{DSN: dsn(l.Host, l.Port, "/"+db+"?sslmode=require"), Password: password}, secrets.Invalid, []string{"no TLS", "sslmode=disable"}},
		"unknown authority": {Config{DSN: dsn(tls.Host, tls.Port, "/postgres?sslmode=verify-full"), Password: password}, secrets.Invalid, []string{"not trusted", "sslrootcert"}},
		"unknown setting":   {Config{DSN: dsn(l.Host, l.Port, "/"+db+"?no_such_setting=1"), Password: password}, secrets.Invalid, []string{"42704"}},
		"second of two is right, but for its database": {Config{DSN: (&url.URL{Scheme: "postgres", User: url.User(runner)}).String() +
			fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d/none", free.Addr().(*net.TCPAddr).Port, l.Port), Password: password}, secrets.Invalid, []string{"does not exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			limit := 5 * time.Second
			if name == "nobody answers" {
				limit = 300 * time.Millisecond
			}
			s, err := Open(within(t, limit), c.config)
			if err == nil {
				s.Close()
			}
			wantError(t, err, c.kind, c.words...)
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
	t.Run("trusted", func(t *testing.T) {
		_, err := Open(within(t, 3*time.Second), Config{DSN: dsn(tls.Host, tls.Port, "/postgres?sslmode=verify-full&sslrootcert="+url.QueryEscape(tls.CAFile)), Password: password})
		wantError(t, err, secrets.Denied, "refuses the login") // by a server that was believed
	})
}

// pooler answers as PgBouncer does whoever brings settings of his session.
func pooler(t testing.TB) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := pgproto3.NewBackend(c, c)
			if _, err := b.ReceiveStartupMessage(); err == nil {
				b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "08P01", Message: "unsupported startup parameter: jit"})
				_ = b.Flush() // the client may be gone
			}
			c.Close()
		}
	}()
	return l.Addr()
}

// What a running store meets: each time it says what is wrong, and goes on when it
// is over.
func TestErrorsOfARunningStore(t *testing.T) {
	l := alone(t, servers.Postgres15)
	db := l.database(t)
	s := l.open(t, db)
	create := func(n int) error {
		return s.Create(within(t, 8*time.Second), &service.Secret{ARN: arn(n)}, nil)
	}
	update := func() error {
		_, err := s.Update(within(t, 8*time.Second), arn(0), countOne)
		return err
	}
	must := func(t testing.TB, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(t, s.Create(t.Context(), &service.Secret{ARN: arn(0), Description: "0"}, nil))

	t.Run("connections that are cut", func(t *testing.T) {
		for range 5 {
			must(t, update())
			l.exec(t, db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pawl-app'")
			must(t, update())
		}
	})
	t.Run("only reads", func(t *testing.T) {
		l.exec(t, "postgres", "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
		awaitSetting(t, l, "on")
		wantError(t, update(), secrets.Transient, "only reads", "fail-over")
		wantError(t, create(1), secrets.Transient, "only reads")
		l.exec(t, "postgres", "SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
		awaitSetting(t, l, "off")
		must(t, update())
		must(t, create(1))
	})
	t.Run("somebody holds the row", func(t *testing.T) {
		conn, err := s.pool.Acquire(t.Context())
		must(t, err)
		defer conn.Release()
		tx, err := conn.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), "SELECT FROM pawl.secrets WHERE name = $1 FOR UPDATE", arn(0).Name)
		must(t, err)
		_, err = s.Update(within(t, 200*time.Millisecond), arn(0), countOne)
		wantError(t, err, secrets.Transient, "did not answer in time")
		must(t, tx.Rollback(t.Context()))
		must(t, update())
	})
	t.Run("rights that were taken away", func(t *testing.T) {
		l.exec(t, db, `REVOKE UPDATE ON pawl.secrets FROM "pawl-app"`)
		wantError(t, update(), secrets.Denied, "42501", "pawl store migrate")
		l.exec(t, db, `GRANT UPDATE ON pawl.secrets TO "pawl-app"`)
		must(t, update())
	})
	t.Run("a stopped server", func(t *testing.T) {
		must(t, l.Kill())
		began := time.Now()
		_, err := s.Update(t.Context(), arn(0), countOne)
		wantError(t, err, secrets.Transient)
		wantError(t, create(2), secrets.Transient)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v to say so", took)
		}
		must(t, l.Restart(t.Context()))
		must(t, update())
		must(t, create(2))
		l.checkIntegrity(t, db)
	})
}

// awaitSetting waits until a reload of the configuration has come to new sessions.
func awaitSetting(t testing.TB, l *lab, want string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if value[string](t, l, "postgres", "SELECT current_setting('default_transaction_read_only')") == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the setting does not become %q", want)
		}
	}
}

func TestClosed(t *testing.T) {
	l := at(t, servers.Postgres15)
	s := l.open(t, l.database(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(t.Context(), secrets.ID{ARN: arn(0)}); err == nil {
		t.Error("a closed store finds something")
	}
	wantError(t, s.Create(t.Context(), &service.Secret{ARN: arn(0)}, nil), secrets.Invalid, "closed")
	if _, err := s.SettingsRevision(t.Context()); err == nil {
		t.Error("a closed store has a revision")
	}
}

// Texts that a column can't hold are not there, and are not put there.
func TestTextsThatPostgreSQLHasNot(t *testing.T) {
	l := at(t, servers.Postgres15)
	s := l.open(t, l.database(t))
	a := arn(0)
	if err := s.Create(t.Context(), &service.Secret{ARN: a, Description: "a\x00b", Tags: []service.Tag{{Key: "\x00", Value: "\x00"}}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := description(t, s, a); got != "a\x00b" {
		t.Errorf("the description is %q", got)
	}
	for _, bad := range []string{"\x00", "a\xff"} {
		b := a
		b.Name = bad
		wantError(t, s.Create(t.Context(), &service.Secret{ARN: b}, nil), secrets.Invalid)
		if _, err := s.Find(t.Context(), secrets.ID{ARN: b}); err != service.ErrNotFound {
			t.Errorf("error %v", err)
		}
		if _, err := s.Value(t.Context(), a, bad); err != service.ErrNotFound {
			t.Errorf("error %v", err)
		}
		if err := s.Remove(t.Context(), b); err != service.ErrNotFound {
			t.Errorf("error %v", err)
		}
		if page, err := s.List(t.Context(), service.Listing{Account: a.Account, Region: a.Region, Prefix: bad, N: 9}); err != nil || len(page) != 0 {
			t.Errorf("%d secrets, error %v", len(page), err)
		}
	}
}
