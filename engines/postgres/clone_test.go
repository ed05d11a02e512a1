package postgres

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// sync synchronises without warnings.
func (f *fixture) sync(s *session, c engines.Clone) {
	f.Helper()
	warnings, err := s.SyncClone(f.ctx(), c)
	f.must(err)
	if len(warnings) != 0 {
		f.Errorf("warnings: %q", warnings)
	}
}

// login gives the clone a password, last as always, and logs in by the engine.
func (f *fixture) open(s *session, c engines.Clone, password string) *session {
	f.Helper()
	f.must(s.SetPassword(f.ctx(), engines.PasswordChange{Username: c.Clone, New: secrets.NewPassword(password), Clone: true}))
	return f.session(c.Clone, password)
}

// facts is all that the catalogue says of a role but its name, password and
// mark.
func (f *fixture) facts(role string) string {
	r := quoteLiteral(role)
	return f.value(f.admin, `SELECT concat_ws(' ', rolsuper, rolinherit, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolconnlimit,
		coalesce(rolvaliduntil, 'infinity')) FROM pg_roles WHERE rolname = `+r) + "\n" +
		f.value(f.admin, `SELECT coalesce(string_agg(coalesce(d.datname, '') || ' ' || entry, E'\n' ORDER BY d.datname, entry), '')
		FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) entry
		WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = `+r+`) AND entry NOT LIKE 'role=%'`)
}

func (f *fixture) clone(original string) engines.Clone {
	return engines.Clone{Original: original, Clone: original + "_clone", Database: "postgres"}
}

// TestCloneIsComplete: attributes, limits and settings of every kind, first
// copied, then changed, then taken away again; the original is never touched.
func TestCloneIsComplete(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, password := f.role("App it's \\ 100%", "CREATEDB CREATEROLE REPLICATION BYPASSRLS CONNECTION LIMIT 17 VALID UNTIL '2099-12-31 23:59:59.123456+05:30'")
		o := quoteIdent(app)
		db := f.database("postgres")
		f.sql("ALTER DATABASE " + db + ` RENAME TO "Sales 'db'"`)
		f.sql(
			"ALTER ROLE "+o+` SET search_path = "$user", "we ird", s`,
			"ALTER ROLE "+o+` SET temp_tablespaces = ''`,
			"ALTER ROLE "+o+` SET datestyle = 'SQL, DMY'`,
			"ALTER ROLE "+o+` SET statement_timeout = '1ms'`,
			"ALTER ROLE "+o+` SET "my.setting" = E'it''s a \\ "thing", and more'`,
			"ALTER ROLE "+o+` IN DATABASE "Sales 'db'" SET search_path = ''`,
			"ALTER ROLE "+o+` IN DATABASE "Sales 'db'" SET "My"."Other" = ''`,
			"ALTER ROLE "+o+` SET session_preload_libraries = 'a b', c`,
		)
		before := f.facts(app)
		s, c := f.super(), f.clone(app)
		state, err := s.FindClone(f.ctx(), c)
		f.must(err)
		if state != engines.CloneAbsent {
			t.Errorf("state is %v", state)
		}
		f.sync(s, c)
		if d := cmp.Diff(f.facts(app), f.facts(c.Clone)); d != "" {
			t.Errorf("original and clone: %s", d)
		}
		if state, err = s.FindClone(f.ctx(), c); err != nil || state != engines.CloneMarked {
			t.Errorf("state is %v, %v", state, err)
		}
		if _, err := f.tryRaw(c.Clone, "anything", "postgres"); err == nil {
			t.Error("a clone without a password can log in")
		}

		// A second time there is nothing to do: no statement but the reading.
		f.sync(s, c)
		if n := f.count(`ALTER ROLE "` + strings.ReplaceAll(c.Clone, `"`, `""`) + `" SET "role"`); n != 1 {
			t.Errorf("the clone was made to act as the original %d times", n)
		}

		f.sql(
			"ALTER ROLE "+o+` SET search_path = 'a, b'`,
			"ALTER ROLE "+o+` RESET statement_timeout`,
			"ALTER ROLE "+o+` IN DATABASE "Sales 'db'" RESET ALL`,
			"ALTER ROLE "+o+` NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT -1 VALID UNTIL 'infinity'`,
		)
		f.sync(s, c)
		if d := cmp.Diff(f.facts(app), f.facts(c.Clone)); d != "" {
			t.Errorf("original and clone after a change: %s", d)
		}
		f.sql("ALTER ROLE "+o+" CREATEDB CREATEROLE REPLICATION BYPASSRLS CONNECTION LIMIT 17 VALID UNTIL '2099-12-31 23:59:59.123456+05:30'", "ALTER ROLE "+o+" RESET ALL")
		f.sync(s, c)
		if d := cmp.Diff(f.facts(app), f.facts(c.Clone)); d != "" {
			t.Errorf("original and clone after another change: %s", d)
		}
		if got := strings.Split(f.facts(app), "\n")[0]; got != strings.Split(before, "\n")[0] {
			t.Errorf("the original has changed: %s", got)
		}
		f.raw(app, password, "postgres")

		f.must(f.open(s, c, "Clone-1234").Check(f.ctx(), engines.Check{CloneOf: app, Query: "SELECT 1"}))
	})
}

// count counts a text in the server's log.
func (f *fixture) count(text string) int {
	f.Helper()
	return strings.Count(f.log(), text)
}

// TestCloneActsAsTheOriginal: what one creates the other can use and change,
// and what is granted between synchronisations counts at once.
func TestCloneActsAsTheOriginal(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, password := f.role("app", "NOINHERIT")
		db := f.database("postgres")
		f.sql("REVOKE CONNECT ON DATABASE "+db+" FROM PUBLIC", "GRANT CONNECT ON DATABASE "+db+" TO "+app)
		in := f.raw(f.server.Admin, f.server.AdminPassword, db)
		f.exec(in, "CREATE SCHEMA work; GRANT ALL ON SCHEMA work TO "+app+"; CREATE TABLE work.given (x int)")
		s, c := f.super(), f.clone(app)
		f.sync(s, c)
		f.open(s, c, "Clone-1234")

		clone, original := f.raw(c.Clone, "Clone-1234", db), f.raw(app, password, db)
		f.exec(clone, "CREATE TABLE work.made (x int); INSERT INTO work.made VALUES (1)")
		f.exec(original, "INSERT INTO work.made VALUES (2); ALTER TABLE work.made ADD y int")
		if got := f.value(clone, "SELECT session_user || ' ' || current_user"); got != c.Clone+" "+app {
			t.Errorf("the clone is %s", got)
		}
		for _, reset := range []string{"RESET ROLE", "RESET ALL", "DISCARD ALL", "SET SESSION AUTHORIZATION DEFAULT"} {
			f.exec(clone, reset)
			if got := f.value(clone, "SELECT current_user::text"); got != app {
				t.Errorf("after %s the clone is %s", reset, got)
			}
		}
		if _, err := clone.Exec(f.ctx(), "SELECT * FROM work.given"); err == nil {
			t.Error("the clone may read what the original may not")
		}
		f.exec(in, "GRANT SELECT ON work.given TO "+app)
		f.exec(clone, "SELECT * FROM work.given")
		f.exec(in, "REVOKE SELECT ON work.given FROM "+app)
		if _, err := clone.Exec(f.ctx(), "SELECT * FROM work.given"); err == nil {
			t.Error("the clone may still read what the original may no longer")
		}
	})
}

// TestCloneFollowsRoleSetting: an original whose sessions act as an owner role
// has a clone whose sessions do so as well.
func TestCloneFollowsRoleSetting(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		owner, _ := f.role("owner", "NOLOGIN")
		app, password := f.role("app", "")
		f.sql("GRANT "+owner+" TO "+app, "ALTER ROLE "+app+" SET role = "+owner)
		s, c := f.super(), f.clone(app)
		f.sync(s, c)
		clone := f.open(s, c, "Clone-1234")
		f.must(clone.Check(f.ctx(), engines.Check{CloneOf: app}))
		if got := f.value(f.raw(c.Clone, "Clone-1234", "postgres"), "SELECT current_user::text"); got != owner {
			t.Errorf("the clone acts as %s", got)
		}
		f.must(f.session(app, password).Check(f.ctx(), engines.Check{}))

		// A clone may change its own password, and nobody else's.
		self := engines.PasswordChange{Username: c.Clone, New: secrets.NewPassword("Clone-5678"), Self: true, Clone: true}
		f.must(clone.Preflight(f.ctx(), self))
		f.set(clone, self, "Clone-1234")
		f.raw(app, password, "postgres")

		f.sql("ALTER ROLE " + app + " SET role = none")
		f.sync(s, c)
		f.must(f.session(c.Clone, "Clone-5678").Check(f.ctx(), engines.Check{CloneOf: app}))
	})
}

func TestLostMembershipIsFound(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, _ := f.role("app", "")
		s, c := f.super(), f.clone(app)
		f.sync(s, c)
		f.open(s, c, "Clone-1234")
		f.sql("REVOKE " + app + " FROM " + c.Clone)
		f.wantError(f.session(c.Clone, "Clone-1234").Check(f.ctx(), engines.Check{CloneOf: app}), secrets.Denied, "GRANT", app)
		f.sync(s, c)
		f.must(f.session(c.Clone, "Clone-1234").Check(f.ctx(), engines.Check{CloneOf: app}))
		f.sql("ALTER ROLE " + c.Clone + " RESET role")
		f.wantError(f.session(c.Clone, "Clone-1234").Check(f.ctx(), engines.Check{CloneOf: app}), secrets.Denied, "setting")
		f.sync(s, c)
		f.must(f.session(c.Clone, "Clone-1234").Check(f.ctx(), engines.Check{CloneOf: app}))
	})
}

// TestCloneIsNeverWider takes away what a clone has beyond its original, and
// names what only a person can decide about.
func TestCloneIsNeverWider(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, _ := f.role("app", "")
		other, _ := f.role("other", "")
		s, c := f.super(), f.clone(app)
		f.roleNamed(c.Clone, "Old-1234", "CREATEDB BYPASSRLS NOINHERIT")
		table := name("t")
		f.sql("GRANT "+other+" TO "+c.Clone, "GRANT "+app+" TO "+c.Clone+" WITH ADMIN OPTION", "ALTER ROLE "+c.Clone+" SET work_mem = '1GB'",
			"CREATE TABLE "+table+" (x int)", "ALTER TABLE "+table+" OWNER TO "+c.Clone, "CREATE TABLE "+table+"_2 (x int)", "GRANT SELECT ON "+table+"_2 TO "+c.Clone)
		state, err := s.FindClone(f.ctx(), c)
		f.must(err)
		if state != engines.CloneForeign {
			t.Errorf("state is %v", state)
		}
		warnings, err := s.SyncClone(f.ctx(), c)
		f.must(err)
		text := strings.Join(warnings, "\n")
		for _, w := range []string{"owns 1 object(s) in database \"postgres\"", "REASSIGN OWNED BY", "privileges of its own on 1 object(s)"} {
			if !strings.Contains(text, w) {
				t.Errorf("%q does not say %q", text, w)
			}
		}
		if d := cmp.Diff(f.facts(app), f.facts(c.Clone)); d != "" {
			t.Errorf("original and clone: %s", d)
		}
		if got := f.value(f.admin, `SELECT string_agg(roleid::regrole::text || ' ' || admin_option, ',') FROM pg_auth_members WHERE member = `+quoteLiteral(c.Clone)+`::regrole`); got != app+" false" {
			t.Errorf("memberships: %s", got)
		}
		f.sql("REASSIGN OWNED BY "+c.Clone+" TO "+app, "REVOKE ALL ON "+table+"_2 FROM "+c.Clone)
		f.sync(s, c)
	})
}

func TestLockClone(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, _ := f.role("app", "")
		s, c := f.super(), f.clone(app)
		f.must(s.LockClone(f.ctx(), c)) // nothing to lock
		f.roleNamed(c.Clone, "Old-1234", "")
		f.must(s.LockClone(f.ctx(), c))
		if state, err := s.FindClone(f.ctx(), c); err != nil || state != engines.CloneMarked {
			t.Errorf("state is %v, %v", state, err)
		}
		f.sql("ALTER ROLE " + c.Clone + " LOGIN")
		if _, err := f.tryRaw(c.Clone, "Old-1234", "postgres"); err == nil {
			t.Error("the password of a locked clone is still there")
		}
		other := c
		other.Original = "somebody_else"
		if state, err := s.FindClone(f.ctx(), other); err != nil || state != engines.CloneForeign {
			t.Errorf("another's clone is %v, %v", state, err)
		}
	})
}

func TestRefusedClones(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, _ := f.role("app", "")
		root, _ := f.role("root", "SUPERUSER")
		clerk, clerkPassword := f.role("clerk", "")
		s := f.super()
		refused := func(s *session, c engines.Clone, kind secrets.Kind, words ...string) {
			t.Helper()
			_, err := s.SyncClone(f.ctx(), c)
			f.wantError(err, kind, words...)
		}
		refused(s, f.clone("missing_user"), secrets.Invalid, "does not exist")
		refused(s, f.clone(root), secrets.Invalid, "superuser", "single-user")
		refused(s, engines.Clone{Original: app, Clone: app}, secrets.Invalid, "own clone")
		refused(s, engines.Clone{Original: app, Clone: strings.Repeat("x", 64)}, secrets.Invalid, "63")
		refused(s, engines.Clone{Original: app, Clone: root}, secrets.Invalid, "NOSUPERUSER")
		refused(f.session(clerk, clerkPassword), f.clone(app), secrets.Denied, "CREATEROLE")
		if got := f.value(f.admin, "SELECT count(*)::text FROM pg_roles WHERE rolname = "+quoteLiteral(app+"_clone")); got != "0" {
			t.Error("half a clone was left behind")
		}
		// As the function of AWS leaves it when it starts from the clone.
		f.roleNamed(app+"_clone", "Old-1234", "")
		f.sql("GRANT " + app + "_clone TO " + app)
		refused(s, f.clone(app), secrets.Invalid, "REVOKE", "member")
		f.sql("REVOKE " + app + "_clone FROM " + app)
		middle, _ := f.role("middle", "")
		f.sql("GRANT "+app+"_clone TO "+middle, "GRANT "+middle+" TO "+app)
		refused(s, f.clone(app), secrets.Invalid, "0LP01")
		for _, c := range []engines.Clone{{}, {Original: app}, {Original: app, Clone: "none"}} {
			_, err := s.FindClone(f.ctx(), c)
			f.wantError(err, secrets.Invalid)
			f.wantError(s.LockClone(f.ctx(), c), secrets.Invalid)
		}
	})
}

// TestCloneMadeMeanwhile: several rotators make one clone at the same time, which
// only a store with leases keeps from happening. Who comes second may try again.
func TestCloneMadeMeanwhile(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		sessions := []*session{f.super(), f.super(), f.super()}
		met := false
		for range 10 {
			app, _ := f.role("app", "")
			c := f.clone(app)
			errs := make([]error, len(sessions))
			var wg sync.WaitGroup
			for i, s := range sessions {
				wg.Go(func() { _, errs[i] = s.SyncClone(f.ctx(), c) })
			}
			wg.Wait()
			made := false
			for _, err := range errs {
				made = made || err == nil
				if err != nil {
					met = true
					f.wantError(err, secrets.Transient)
				}
			}
			if !made {
				t.Errorf("nobody has made it: %v", errs)
			}
			f.sync(sessions[0], c)
		}
		if !met {
			t.Log("they never met")
		}
	})
}

// TestLeastRights does everything with the rights of a managed server's
// administrator: CREATEROLE, and from version 16 on ADMIN on the role.
func TestLeastRights(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		app, old := f.role("app", "CONNECTION LIMIT 9 CREATEDB")
		master, masterPassword := f.role("master", "CREATEROLE")
		f.sql("ALTER ROLE "+app+` SET search_path = "$user", "we ird"`, "ALTER ROLE "+app+" SET log_min_duration_statement = 100")
		s, c := f.session(master, masterPassword), f.clone(app)
		if f.newer() {
			_, err := s.SyncClone(f.ctx(), c)
			f.wantError(err, secrets.Denied, grantAdmin(app, master))
			f.sql(grantAdmin(app, master))
		}
		for range 2 {
			warnings, err := s.SyncClone(f.ctx(), c)
			f.must(err)
			if len(warnings) != 1 || !strings.Contains(warnings[0], "log_min_duration_statement") || !strings.Contains(warnings[0], "42501") {
				t.Errorf("warnings: %q", warnings)
			}
		}
		clone := f.open(s, c, "Clone-1234")
		f.must(clone.Check(f.ctx(), engines.Check{CloneOf: app}))
		if got := f.value(f.raw(c.Clone, "Clone-1234", "postgres"), "SHOW search_path"); got != `"$user", "we ird"` {
			t.Errorf("search_path is %s", got)
		}
		if got, want := f.value(f.admin, "SELECT rolcreatedb::text FROM pg_roles WHERE rolname = "+quoteLiteral(c.Clone)), fmt.Sprint(!f.newer()); got != want {
			t.Errorf("CREATEDB of the clone is %s", got)
		}
		f.exec(f.raw(c.Clone, "Clone-1234", "postgres"), "CREATE DATABASE "+name("made_by_clone"))

		change := engines.PasswordChange{Username: app, New: secrets.NewPassword("New-1234")}
		f.must(s.Preflight(f.ctx(), change))
		f.set(s, change, old)
		cloneChange := engines.PasswordChange{Username: c.Clone, New: secrets.NewPassword("Clone-5678"), Clone: true}
		f.must(s.Preflight(f.ctx(), cloneChange))
		f.set(s, cloneChange, "Clone-1234")
		f.must(s.LockClone(f.ctx(), c))

		f.sql("ALTER ROLE " + app + " REPLICATION")
		warnings, err := s.SyncClone(f.ctx(), c)
		f.must(err)
		if !strings.Contains(strings.Join(warnings, "\n"), "REPLICATION") {
			t.Errorf("warnings: %q", warnings)
		}
	})
}
