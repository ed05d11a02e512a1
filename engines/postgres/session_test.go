package postgres

import (
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
)

func serverOf(t *testing.T, kind servers.Kind) *servers.Server {
	t.Helper()
	return servertest.Shared(t, kind, chatty)
}

func portOf(f *fixture) string { return strconv.Itoa(f.server.Port) }

func pidOf(s *session) string {
	return strconv.FormatUint(uint64(s.conn.PID()), 10)
}

// eventually polls a condition of the server until it holds.
func (f *fixture) eventually(ok func() bool) {
	f.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatal("it never came to pass")
		}
	}
}

func TestCheck(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, password := f.role("check", "")
		other, _ := f.role("other", "")
		s := f.session(user, password)
		for _, query := range []string{"", "SELECT 1", "SELECT * FROM generate_series(1, 5000)", "SELECT 1 WHERE false", "SELECT 1; SELECT 2", "BEGIN; COMMIT", "-- nothing"} {
			if err := s.Check(f.ctx(), engines.Check{Query: query}); err != nil {
				t.Errorf("%s: %v", query, err)
			}
		}
		f.wantError(s.Check(f.ctx(), engines.Check{Query: "SELECT * FROM no_such_table"}), secrets.Invalid, "no_such_table", "check_query")
		f.wantError(s.Check(f.ctx(), engines.Check{Query: "SELECT pg_read_file('x')"}), secrets.Denied, "42501")
		f.wantError(s.Check(f.ctx(), engines.Check{Query: "SET statement_timeout = 1; SELECT pg_sleep(9)"}), secrets.Transient, "57014")

		// Acting as somebody else is fine only when the user's own settings say so.
		f.sql("GRANT "+other+" TO "+user, "ALTER ROLE "+user+" SET role = "+other)
		s = f.session(user, password)
		f.must(s.Check(f.ctx(), engines.Check{}))
		f.sql("ALTER ROLE " + user + " RESET role")
		f.wantError(s.Check(f.ctx(), engines.Check{}), secrets.Denied, "acts as")
		f.sql("ALTER ROLE " + user + " IN DATABASE postgres SET role = " + other)
		f.must(f.session(user, password).Check(f.ctx(), engines.Check{}))
	})
}

func TestPreflight(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, appPassword := f.role("app", "")
		root, _ := f.role("root", "SUPERUSER")
		noLogin, _ := f.role("nologin", "NOLOGIN")
		expired, _ := f.role("expired", "VALID UNTIL '2001-01-01'")
		walker, _ := f.role("walker", "REPLICATION")
		clerk, clerkPassword := f.role("clerk", "CREATEROLE")
		plain, plainPassword := f.role("plain", "")
		super, mine, clerks, nobody := f.super(), f.session(app, appPassword), f.session(clerk, clerkPassword), f.session(plain, plainPassword)
		for _, r := range []string{noLogin, expired, walker} {
			if f.newer() {
				f.sql(grantAdmin(r, clerk))
			}
		}
		change := func(user string) engines.PasswordChange {
			return engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234")}
		}
		self, clone := change(app), change("not_there_yet")
		self.Self, clone.Clone = true, true
		lockedClone := change(noLogin)
		lockedClone.Clone = true

		f.must(super.Preflight(f.ctx(), change(app)))
		f.must(super.Preflight(f.ctx(), clone))
		f.must(super.Preflight(f.ctx(), lockedClone))
		f.must(clerks.Preflight(f.ctx(), clone))
		f.must(mine.Preflight(f.ctx(), self))
		f.must(mine.Preflight(f.ctx(), change(app)))
		f.wantError(super.Preflight(f.ctx(), change("nobody-like-that")), secrets.Invalid, "does not exist")
		f.wantError(super.Preflight(f.ctx(), change("")), secrets.Invalid, "empty")
		f.wantError(super.Preflight(f.ctx(), change(noLogin)), secrets.Denied, "LOGIN")
		f.wantError(super.Preflight(f.ctx(), change(expired)), secrets.Denied, "VALID UNTIL")
		f.wantError(nobody.Preflight(f.ctx(), change(app)), secrets.Denied, "CREATEROLE")
		f.wantError(nobody.Preflight(f.ctx(), clone), secrets.Denied, "CREATEROLE")
		f.wantError(nobody.Preflight(f.ctx(), self), secrets.Invalid, "the session is of")
		f.wantError(clerks.Preflight(f.ctx(), change(root)), secrets.Denied, "superuser")

		// What Preflight lets pass works, and what it refuses does not.
		agree := func(user string, words ...string) {
			t.Helper()
			before, after := clerks.Preflight(f.ctx(), change(user)), clerks.SetPassword(f.ctx(), change(user))
			if (before == nil) != (after == nil) {
				t.Errorf("%s: Preflight says %v, SetPassword %v", user, before, after)
			}
			if len(words) > 0 {
				f.wantError(before, secrets.Denied, words...)
				f.wantError(after, secrets.Denied)
			}
		}
		agree(root, "superuser")
		if f.newer() {
			agree(app, "GRANT", "ADMIN OPTION")
			f.sql(grantAdmin(app, clerk))
			agree(app)
			agree(walker)
		} else {
			agree(app)
			agree(walker, "REPLICATION")
		}
	})
}

// TestJudge covers errors that the servers in the tests do not give on demand.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		pe      pgconn.PgError
		kind    secrets.Kind
		refused bool
	}{
		{pgconn.PgError{Severity: "ERROR", Code: "40P01"}, secrets.Transient, true},
		{pgconn.PgError{Severity: "ERROR", Code: "53200"}, secrets.Transient, true},
		{pgconn.PgError{Severity: "ERROR", Code: "42601"}, secrets.Invalid, true},
		{pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "FATAL", Code: "57P01"}, secrets.Unknown, false},
		{pgconn.PgError{Severity: "PANIC", Code: "XX000"}, secrets.Unknown, false},
		{pgconn.PgError{Severity: "FATAL", Code: "57P05"}, secrets.Transient, true},
		{pgconn.PgError{Severity: "FATAL", Code: "25P03"}, secrets.Transient, true},
	} {
		if v := judge(&c.pe, secrets.Unknown); v.kind != c.kind || v.refused != c.refused {
			t.Errorf("%s %s: %v, refused %t", c.pe.Severity, c.pe.Code, v.kind, v.refused)
		}
	}
	if v := judge(&pgconn.PgError{Severity: "FATAL", Code: "57P01"}, secrets.Transient); v.kind != secrets.Transient {
		t.Errorf("a cut read is %v", v.kind)
	}
}
