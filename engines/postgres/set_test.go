package postgres

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

var nastyNames = []string{
	`simple`, `Upper Case`, `quo"te`, `apo'strophe`, `back\slash`, `dollar$1 $$ $tag$`, `100%s %d ?`, `semi;colon -- /* */`,
	"new\nline", "tab\tname", `ünïcödé-名前`, ` leading and trailing `, `"`, `\`, strings.Repeat("n", 63), strings.Repeat("é", 31),
}

func nastyPasswords() []string {
	all := []string{
		strings.Repeat(`x`, 2000), `it's`, `back\slash\`, `"quoted"`, `$1 $$ %s ?`, ` spaces `, `'; DROP ROLE postgres; --`,
		`Straße-密码-🔑`, "e\u0301te\u0301-decomposed", "tab\tand\nnewline", "md5" + strings.Repeat("0a", 16), "SCRAM-SHA-256$4096:c2FsdA==$a:b",
	}
	var ascii strings.Builder
	for r := ' '; r <= '~'; r++ {
		ascii.WriteRune(r)
		all = append(all, "one-"+string(r))
	}
	return append(all, ascii.String())
}

// set changes a password and proves that an application gets in by the new one
// and not by the old one.
func (f *fixture) set(s engines.Session, c engines.PasswordChange, old string) {
	f.Helper()
	f.must(s.SetPassword(f.ctx(), c))
	conn, err := f.tryRaw(c.Username, c.New.Reveal(), "postgres")
	if err != nil {
		f.Fatalf("user %q: the new password is refused", c.Username)
	}
	conn.Close(f.ctx())
	if _, err := f.tryRaw(c.Username, old, "postgres"); err == nil {
		f.Errorf("user %q: the old password is still good", c.Username)
	}
}

func TestNastyNames(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		for i, n := range nastyNames {
			f.roleNamed(n, "Old-1234", "")
			next := secrets.NewPassword(name("New-pass"))
			if i%2 == 0 {
				f.set(f.super(), engines.PasswordChange{Username: n, New: next}, "Old-1234")
			} else {
				f.set(f.session(n, "Old-1234"), engines.PasswordChange{Username: n, New: next, Self: true}, "Old-1234")
			}
			f.must(f.session(n, next.Reveal()).Check(f.ctx(), engines.Check{}))
		}
	})
}

func TestNastyPasswords(t *testing.T) {
	psql := filepath.Join("/usr/lib/postgresql/15/bin", "psql")
	if ok, dir := servers.Find(servers.Postgres15); ok {
		psql = filepath.Join(dir, "psql")
	}
	_, missing := os.Stat(psql)
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("nasty", "")
		s := f.super()
		for _, p := range nastyPasswords() {
			c := engines.PasswordChange{Username: user, New: secrets.NewPassword(p)}
			if strings.HasPrefix(p, "one-") { // many, so one login each
				f.must(s.SetPassword(f.ctx(), c))
				conn, err := f.tryRaw(user, p, "postgres")
				if err != nil {
					t.Errorf("the password with %q in it is refused", p[len("one-"):])
					continue
				}
				f.must(conn.Close(f.ctx()))
				old = p
				continue
			}
			f.set(s, c, old)
			if missing == nil {
				// libpq normalises passwords by other rules than pgx.
				cmd := exec.CommandContext(f.ctx(), psql, "-XAtc", "SELECT 1", "-h", f.server.Host, "-p", portOf(f), "-U", user, "postgres")
				cmd.Env = []string{"PGPASSWORD=" + p, "PGSSLMODE=disable"}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("libpq does not get in by a password of %d bytes: %v %s", len(p), err, out)
				}
			}
			old = p
		}
		if got := f.value(f.admin, "SELECT left(rolpassword, 19) FROM pg_authid WHERE rolname = "+quoteLiteral(user)); got != "SCRAM-SHA-256$4096:" {
			t.Errorf("stored as %s", got)
		}
	})
	if missing != nil && os.Getenv("CI") != "" {
		t.Error(missing)
	}
}

// TestVerifierUnderOtherSettings: the server's own way of hashing does not
// matter, but its number of iterations does.
func TestVerifierUnderOtherSettings(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("settings", "")
		boss, bossPassword := f.role("boss", "SUPERUSER")
		f.sql("ALTER ROLE "+boss+" SET password_encryption = md5", "ALTER ROLE "+boss+" SET standard_conforming_strings = off")
		want := "SCRAM-SHA-256$4096:"
		if f.newer() {
			f.sql("ALTER ROLE " + boss + " SET scram_iterations = 5000")
			want = "SCRAM-SHA-256$5000:"
		}
		f.set(f.session(boss, bossPassword), engines.PasswordChange{Username: user, New: secrets.NewPassword(`New'\-1234`)}, old)
		if got := f.value(f.admin, "SELECT left(rolpassword, 19) FROM pg_authid WHERE rolname = "+quoteLiteral(user)); got != want {
			t.Errorf("stored as %s", got)
		}
	})
}

func TestPasswordStaysOutOfTheLog(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("quiet", "")
		one, two, three := name("Secret-word-one"), name("Secret-word-two"), name("Secret-word-three")
		s := f.super()
		c := engines.Clone{Original: user, Clone: user + "_clone"}
		if _, err := s.SyncClone(f.ctx(), c); err != nil {
			t.Fatal(err)
		}
		f.set(s, engines.PasswordChange{Username: user, New: secrets.NewPassword(one)}, old)
		f.set(f.session(user, one), engines.PasswordChange{Username: user, New: secrets.NewPassword(two), Self: true}, one)
		f.set(s, engines.PasswordChange{Username: c.Clone, New: secrets.NewPassword(three), Clone: true}, "x")
		f.must(s.LockClone(f.ctx(), c))
		// An undo, and a statement that fails and so is logged in any case.
		f.set(s, engines.PasswordChange{Username: user, New: secrets.NewPassword(one)}, two)
		f.wantError(s.SetPassword(f.ctx(), engines.PasswordChange{Username: "missing-user", New: secrets.NewPassword(two)}), secrets.Invalid, "does not exist")

		if !f.inLog(`ALTER ROLE "` + user + `" PASSWORD 'SCRAM-SHA-256$`) {
			t.Error("the log does not hold the statement at all")
		}
		for _, p := range []string{one, two, three} {
			if f.inLog(p) {
				t.Error("a plain password is in the server's log")
			}
		}
	})
}

// TestSelfActingAsAnother: a user whose own setting makes him act as another
// changes his own password, not the other's.
func TestSelfActingAsAnother(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		owner, ownerPassword := f.role("owner", "")
		user, old := f.role("member", "")
		f.sql("GRANT "+owner+" TO "+user, "ALTER ROLE "+user+" SET role = "+owner)
		s := f.session(user, old)
		f.must(s.Check(f.ctx(), engines.Check{}))
		c := engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234"), Self: true}
		f.must(s.Preflight(f.ctx(), c))
		f.set(s, c, old)
		f.raw(owner, ownerPassword, "postgres")
	})
}

func TestReplicaIsRefused(t *testing.T) {
	f := newFixture(t, replica(t))
	s := f.super()
	c := engines.PasswordChange{Username: "postgres", New: secrets.NewPassword("New-1234")}
	f.wantError(s.Preflight(f.ctx(), c), secrets.Invalid, "admin_host")
	f.wantError(s.SetPassword(f.ctx(), c), secrets.Invalid, "admin_host")
	_, err := s.SyncClone(f.ctx(), engines.Clone{Original: "pg_monitor", Clone: "x_clone"})
	f.wantError(err, secrets.Invalid, "admin_host")
}

// TestLockedRow has another transaction hold the user's row: the guard ends the
// wait at the server, and nothing was changed.
func TestLockedRow(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("held", "")
		blocker := f.raw(f.server.Admin, f.server.AdminPassword, "postgres")
		f.exec(blocker, "BEGIN")
		f.exec(blocker, "ALTER ROLE "+user+" CONNECTION LIMIT 7")
		at := f.endpoint()
		at.Guard = 200 * time.Millisecond
		s := f.sessionAt(at, f.server.Admin, f.server.AdminPassword)
		err := s.SetPassword(f.ctx(), engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234")})
		f.wantError(err, secrets.Transient, "not changed")
		f.exec(blocker, "COMMIT")
		f.raw(user, old, "postgres")

		// An idle session ends too, and says so without a doubt.
		s = f.sessionAt(at, f.server.Admin, f.server.AdminPassword)
		f.eventually(func() bool {
			return f.value(f.admin, "SELECT count(*)::text FROM pg_stat_activity WHERE pid = "+pidOf(s)) == "0"
		})
		err = s.SetPassword(f.ctx(), engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234")})
		f.wantError(err, secrets.Transient, "57P05")
		f.raw(user, old, "postgres")
	})
}

// TestConcurrentWriters: the second of two writers of one user's row gets
// XX000 "tuple concurrently updated" when the first commits.
func TestConcurrentWriters(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("contended", "")
		blocker := f.raw(f.server.Admin, f.server.AdminPassword, "postgres")
		f.exec(blocker, "BEGIN")
		f.exec(blocker, "ALTER ROLE "+user+" CONNECTION LIMIT 7")
		s := f.super()
		done := make(chan error, 1)
		ctx := f.ctx()
		go func() {
			done <- s.SetPassword(ctx, engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234")})
		}()
		f.eventually(func() bool {
			return f.value(f.admin, "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = "+pidOf(s)) == "1"
		})
		f.exec(blocker, "COMMIT")
		f.wantError(<-done, secrets.Transient, "XX000")
		f.raw(user, old, "postgres")
	})
}

// TestCutOff: the connection breaks after the statement was sent. The server
// carried it out; nobody on this side can know.
func TestCutOff(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, _ := f.role("cut", "")
		at := f.endpoint()
		at.Port = newCutter(t, f.server, "ALTER ROLE")
		s := f.sessionAt(at, f.server.Admin, f.server.AdminPassword)
		err := s.SetPassword(f.ctx(), engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234")})
		f.wantError(err, secrets.Unknown, "not known", user)
		f.raw(user, "New-1234", "postgres")

		_, err = f.sessionAt(at, f.server.Admin, f.server.AdminPassword).SyncClone(f.ctx(), engines.Clone{Original: user, Clone: user + "_clone"})
		f.wantError(err, secrets.Unknown, "not known")
	})
}

func TestTimeRunsOut(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("late", "")
		c := engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234")}
		ctx, cancel := context.WithTimeout(context.Background(), 900*time.Millisecond)
		defer cancel()
		f.wantError(f.super().SetPassword(ctx, c), secrets.Transient, "nothing was sent")
		cancel()
		f.wantError(f.super().SetPassword(ctx, c), secrets.Transient)
		f.raw(user, old, "postgres")

		blocker := f.raw(f.server.Admin, f.server.AdminPassword, "postgres")
		f.exec(blocker, "BEGIN")
		f.exec(blocker, "ALTER ROLE "+user+" CONNECTION LIMIT 7")
		ctx, cancel = context.WithTimeout(context.Background(), engines.SendMargin+200*time.Millisecond)
		defer cancel()
		f.wantError(f.super().SetPassword(ctx, c), secrets.Unknown)
		f.exec(blocker, "ROLLBACK")
	})
}

// TestConfirm: each change is confirmed right before it is sent, on a session that
// is open; where that is refused nothing is sent, and the error is not the server's.
func TestConfirm(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("claimed", "")
		c := f.clone(user)
		asked, lost := 0, error(secrets.Errorf(secrets.Conflict, "the claim was lost"))
		confirm := func(context.Context) error { asked++; return lost }
		s := f.super()
		change := engines.PasswordChange{Username: user, New: secrets.NewPassword("New-1234"), Confirm: confirm}
		c.Confirm = confirm
		refused := func(err error) {
			t.Helper()
			if err != lost || asked != 1 {
				t.Errorf("error %v, asked %d times", err, asked)
			}
			asked = 0
		}
		refused(s.SetPassword(f.ctx(), change))
		_, err := s.SyncClone(f.ctx(), c)
		refused(err)
		refused(s.LockClone(f.ctx(), c))
		f.raw(user, old, "postgres")
		if state, err := s.FindClone(f.ctx(), c); err != nil || state != engines.CloneAbsent {
			t.Errorf("the clone is %v, error %v", state, err)
		}
		lost = nil
		f.sync(s, c)
		f.sync(s, c) // nothing differs, nothing is sent
		f.set(s, change, old)
		f.must(s.LockClone(f.ctx(), c))
		if asked != 3 {
			t.Errorf("asked %d times, want 3", asked)
		}
	})
}

// TestChangesEndTogether: the server bounds each statement of a transaction by
// itself. Two that each have to wait for almost as long end with the first.
func TestChangesEndTogether(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, _ := f.role("model", "")
		c := f.clone(user)
		f.sync(f.super(), c)
		blocker := f.raw(f.server.Admin, f.server.AdminPassword, "postgres")
		f.exec(blocker, "BEGIN")
		f.exec(blocker, "ALTER ROLE "+quoteIdent(c.Clone)+" CONNECTION LIMIT 7")
		at := f.endpoint()
		at.Guard = 2 * time.Second
		s := f.sessionAt(at, f.server.Admin, f.server.AdminPassword)
		began := time.Now()
		err := s.LockClone(f.ctx(), c)
		f.wantError(err, secrets.Transient, "57014")
		if took := time.Since(began); took < time.Second/2 || took > 1900*time.Millisecond {
			t.Errorf("the first of two statements had %v of 2 s", took)
		}
		f.exec(blocker, "COMMIT")
	})
}

// TestRefusedHash plays a server that takes no verifiers, as some managed ones
// with a password policy do.
func TestRefusedHash(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		user, old := f.role("policy", "")
		refused := 0
		at := f.endpoint()
		at.Port = newProxy(t, f.server, func(m pgproto3.FrontendMessage) (pgproto3.BackendMessage, bool) {
			if q, ok := m.(*pgproto3.Query); ok && strings.Contains(q.String, "SCRAM-SHA-256$") {
				refused++
				return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "22023", Message: "no hashes: " + q.String}, true
			}
			return nil, false
		})
		s := f.sessionAt(at, f.server.Admin, f.server.AdminPassword)
		c := engines.PasswordChange{Username: user, New: secrets.NewPassword(`Plain'\1234`)}
		err := s.SetPassword(f.ctx(), c)
		f.wantError(err, secrets.Invalid, "plain_password: allow", "22023")
		if strings.Contains(err.Error(), "SCRAM") || secrets.Policy(err) || refused != 1 {
			t.Errorf("%v (%d tries)", err, refused)
		}
		f.raw(user, old, "postgres")

		c.Plain = true
		f.set(s, c, old)
		c.New = secrets.NewPassword("md5" + strings.Repeat("0a", 16))
		f.wantError(s.SetPassword(f.ctx(), c), secrets.Invalid, "looks like a hash")
		c.New = secrets.NewPassword("")
		f.wantError(s.SetPassword(f.ctx(), c), secrets.Invalid, "empty")
	})
}

// TestPasswordCheck has PostgreSQL's own policy module judge plain passwords.
func TestPasswordCheck(t *testing.T) {
	f := newFixture(t, serverOf(t, servers.Postgres15))
	user, _ := f.role("checked", "")
	boss, bossPassword := f.role("boss", "SUPERUSER")
	f.sql("ALTER ROLE " + boss + " SET session_preload_libraries = passwordcheck")
	s := f.session(boss, bossPassword)
	// The one verifier that it refuses is that of the user's own name.
	c := engines.PasswordChange{Username: user, New: secrets.NewPassword(user)}
	f.wantError(s.SetPassword(f.ctx(), c), secrets.Invalid, "plain_password: allow")
	c.Plain = true
	err := s.SetPassword(f.ctx(), c)
	f.wantError(err, secrets.Invalid, "22023", "policy")
	if !secrets.Policy(err) {
		t.Errorf("%v is not a matter of policy", err)
	}
	if strings.Contains(err.Error(), "must not") {
		t.Errorf("%v passes the server's text on", err)
	}
}
