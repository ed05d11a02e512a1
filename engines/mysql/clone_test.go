package mysql

import (
	"slices"
	"strings"
	gosync "sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// richUser is an original with rights of every kind, at two hosts.
func richUser(t *testing.T, r *rig, name string) {
	t.Helper()
	db := "db_" + name
	role, other := "r1_"+name, "r2_"+name
	o := account(name, "%")
	r.user(t, name, "%", "", "first-1")
	r.user(t, name, "127.0.0.1", "", "first-1")
	r.do(t,
		"CREATE DATABASE "+db,
		"CREATE TABLE "+db+".t (a INT, b INT, c INT)",
		"CREATE PROCEDURE "+db+".p() SELECT 1",
		"CREATE FUNCTION "+db+".f() RETURNS INT DETERMINISTIC RETURN 1",
		"CREATE ROLE "+role+", "+other,
		"GRANT SELECT ON "+db+".* TO "+role,
		"GRANT SELECT, CREATE VIEW ON "+db+".* TO "+account(name, "127.0.0.1")+" WITH GRANT OPTION",
		"GRANT SELECT, INSERT (a, b), UPDATE (c) ON "+db+".t TO "+o+" WITH GRANT OPTION",
		"GRANT ALL ON `app\\_"+name+"`.* TO "+o,
		"GRANT EXECUTE, ALTER ROUTINE ON PROCEDURE "+db+".p TO "+o,
		"GRANT EXECUTE ON FUNCTION "+db+".f TO "+o,
		"GRANT PROCESS, RELOAD ON *.* TO "+o,
		"GRANT "+role+" TO "+o,
		"GRANT "+other+" TO "+o+" WITH ADMIN OPTION",
		"ALTER USER "+o+` REQUIRE ISSUER '/CN=it \ me' SUBJECT '/CN=app' WITH MAX_QUERIES_PER_HOUR 10000 MAX_USER_CONNECTIONS 50 PASSWORD EXPIRE INTERVAL 90 DAY`,
	)
	if r.maria() {
		r.do(t, "SET DEFAULT ROLE "+role+" FOR "+o, "GRANT DELETE HISTORY ON "+db+".* TO "+o,
			"ALTER USER "+o+" WITH MAX_STATEMENT_TIME 2.5")
	} else {
		r.do(t, "ALTER USER "+o+" DEFAULT ROLE "+role+", "+other,
			"GRANT BACKUP_ADMIN ON *.* TO "+o+" WITH GRANT OPTION", "GRANT CLONE_ADMIN ON *.* TO "+o,
			"ALTER USER "+o+" PASSWORD HISTORY 3 PASSWORD REUSE INTERVAL 7 DAY PASSWORD REQUIRE CURRENT FAILED_LOGIN_ATTEMPTS 9 PASSWORD_LOCK_TIME UNBOUNDED")
	}
}

// portrait is all that the server tells of a user but for name, hash, lock and
// mark: what must be equal in a clone.
func portrait(t *testing.T, r *rig, user string) []string {
	t.Helper()
	var out []string
	for _, host := range r.column(t, "SELECT Host FROM mysql.user WHERE User = "+quote(user)+" ORDER BY 1") {
		at := account(user, host)
		statements := append(r.column(t, "SHOW CREATE USER "+at), r.column(t, "SHOW GRANTS FOR "+at)...)
		for _, s := range statements {
			s, _, _ = strings.Cut(s, " ATTRIBUTE '") // its quotes are not escaped either
			tokens, err := scan(s)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			var words []string
			for i, tok := range tokens {
				before := func(keyword string) bool { return i > 0 && tokens[i-1].is(keyword) }
				limit := func(j int) bool { return j < len(tokens) && strings.HasPrefix(tokens[j].value, "MAX_") }
				switch {
				case tok.kind == name && tok.value == user:
					words = append(words, "USER")
				case tok.kind == text && (before("PASSWORD") || before("AS") || before("USING")):
				case strings.HasPrefix(tok.value, "0x"), tok.is("ACCOUNT"), tok.is("LOCK"), tok.is("UNLOCK"):
				// MySQL shows limits of 0 for as long as it remembers the clause.
				case tok.is("WITH") && limit(i+1), limit(i) && tokens[i+1].value == "0", tok.value == "0" && limit(i-1):
				default:
					words = append(words, s[tok.start:tok.end])
				}
			}
			out = append(out, strings.Join(words, " "))
		}
	}
	slices.Sort(out)
	return out
}

func sync(t *testing.T, s *session, c engines.Clone) {
	t.Helper()
	if _, err := s.SyncClone(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, s *session, c engines.Clone, want engines.CloneState) {
	t.Helper()
	got, err := s.FindClone(t.Context(), c)
	if err != nil || got != want {
		t.Errorf("FindClone: %d, %v; want %d", got, err, want)
	}
}

func sameUsers(t *testing.T, r *rig, c engines.Clone, when string) {
	t.Helper()
	if d := cmp.Diff(portrait(t, r, c.Original), portrait(t, r, c.Clone)); d != "" {
		t.Errorf("%s, original and clone differ:\n%s", when, d)
	}
}

// lockedRows counts a user's locked accounts.
func lockedRows(t *testing.T, r *rig, user string) string {
	t.Helper()
	query := "SELECT COUNT(*) FROM mysql.user WHERE account_locked = 'Y' AND User = "
	if r.maria() {
		query = "SELECT COUNT(*) FROM mysql.global_priv WHERE JSON_VALUE(Priv, '$.account_locked') = 1 AND User = "
	}
	return r.column(t, query+quote(user))[0]
}

func TestCloneIsFaithful(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c := engines.Clone{Original: fresh("o")}
		c.Clone = c.Original + "_clone"
		richUser(t, r, c.Original)
		before := portrait(t, r, c.Original)
		s := r.root(t)
		state(t, s, c, engines.CloneAbsent)
		sync(t, s, c)
		state(t, s, c, engines.CloneMarked)
		sameUsers(t, r, c, "at first")
		if d := cmp.Diff(before, portrait(t, r, c.Original)); d != "" {
			t.Errorf("the original was touched:\n%s", d)
		}
		r.mustLogin(t, c.Original, "first-1")

		// Locked until it is given a password, and that for every row.
		if n := lockedRows(t, r, c.Clone); n != "2" {
			t.Errorf("%s rows are locked before there is a password", n)
		}
		set := change(c.Clone, "second-2")
		set.Clone = true
		for range 2 {
			if err := s.SetPassword(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		}
		if n := lockedRows(t, r, c.Clone); n != "0" {
			t.Errorf("%s rows are locked after", n)
		}
		r.mustLogin(t, c.Clone, "second-2")
		if r.maria() {
			state(t, s, c, engines.CloneForeign)
		} else {
			state(t, s, c, engines.CloneMarked)
		}

		// Changes of the original follow, both ways, and the clone stays usable.
		r.user(t, c.Original, "10.%", "", "first-1")
		o, o2, db := account(c.Original, "%"), account(c.Original, "127.0.0.1"), "db_"+c.Original
		if r.maria() {
			r.do(t, "SET DEFAULT ROLE NONE FOR "+o)
		}
		r.do(t,
			"REVOKE INSERT (a) ON "+db+".t FROM "+o,
			"REVOKE GRANT OPTION ON "+db+".t FROM "+o,
			"REVOKE PROCESS ON *.* FROM "+o,
			"REVOKE DELETE, DROP ON `app\\_"+c.Original+"`.* FROM "+o,
			"GRANT DELETE ON "+db+".t TO "+o,
			"REVOKE EXECUTE ON FUNCTION "+db+".f FROM "+o,
			"REVOKE r1_"+c.Original+" FROM "+o,
			"GRANT ALL ON "+db+".* TO "+o2,
			"ALTER USER "+o+" REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 0 MAX_USER_CONNECTIONS 60 PASSWORD EXPIRE NEVER",
			"GRANT SELECT ON "+db+".* TO "+account(c.Original, "10.%"),
			"GRANT INDEX ON "+db+".* TO "+account(c.Clone, "%")+" WITH GRANT OPTION", // somebody widened the clone
		)
		sync(t, s, c)
		sameUsers(t, r, c, "after changes")
		r.mustLogin(t, c.Clone, "second-2")
		r.do(t, "DROP USER "+account(c.Original, "10.%"))
		sync(t, s, c)
		sameUsers(t, r, c, "after a host was dropped")
		r.mustLogin(t, c.Clone, "second-2")

		// Locking ends its use and makes it Pawl's again.
		if err := s.LockClone(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		r.mustNotLogin(t, c.Clone, "second-2")
		state(t, s, c, engines.CloneMarked)
		state(t, s, engines.Clone{Original: "another", Clone: c.Clone}, engines.CloneForeign)
		sync(t, s, c)
		r.mustNotLogin(t, c.Clone, "second-2")
		if err := s.SetPassword(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		r.mustLogin(t, c.Clone, "second-2")
		sameUsers(t, r, c, "in the end")
	})
}

// TestCloneMadeMeanwhile: several rotators make one clone at the same time, which
// only a store with leases keeps from happening. Who comes second may try again.
func TestCloneMadeMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		sessions := []*session{r.root(t), r.root(t), r.root(t)}
		for range 5 {
			name := fresh("o")
			r.user(t, name, "%", "", "first-1")
			c := engines.Clone{Original: name, Clone: name + "_clone"}
			errs := make([]error, len(sessions))
			var all gosync.WaitGroup
			for i, s := range sessions {
				all.Go(func() { _, errs[i] = s.SyncClone(t.Context(), c) })
			}
			all.Wait()
			for _, err := range errs {
				if err != nil && secrets.KindOf(err) != secrets.Transient {
					t.Errorf("%s: %v", secrets.KindOf(err), err)
				}
			}
			if !slices.Contains(errs, nil) {
				t.Errorf("nobody has made it: %v", errs)
			}
			sync(t, sessions[0], c)
		}
	})
}

// A clone keeps the original's plug-in, and nasty names are no obstacle.
func TestClonePlugins(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, plugin := range r.plugins() {
			c := engines.Clone{Original: fresh("o'b`c\\d\"$%?ü")}
			c.Clone = c.Original + "_clone"
			r.user(t, c.Original, "%", plugin, "first-1")
			r.do(t, "CREATE DATABASE IF NOT EXISTS `it's``a\\ TO db`", "CREATE TABLE IF NOT EXISTS `it's``a\\ TO db`.`t,(` (`x)` INT)",
				"GRANT SELECT (`x)`), INSERT ON `it's``a\\ TO db`.`t,(` TO "+account(c.Original, "%"))
			s := r.root(t)
			sync(t, s, c)
			state(t, s, c, engines.CloneMarked)
			set := change(c.Clone, `it's \`)
			set.Clone = true
			if err := s.SetPassword(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			if got := r.plugin(t, c.Clone); got != plugin {
				t.Errorf("the clone's plug-in is %s", got)
			}
			clone := r.dial(t, c.Clone, `it's \`)
			if err := clone.Check(t.Context(), engines.Check{CloneOf: c.Original, Query: "SELECT `x)` FROM `it's``a\\ TO db`.`t,(`"}); err != nil {
				t.Error(err)
			}
			sameUsers(t, r, c, plugin)
			// The clone changes its own password, never the original's.
			if err := r.setSelf(t, c.Clone, `it's \`, "third-3"); err != nil {
				t.Fatal(err)
			}
			r.mustLogin(t, c.Clone, "third-3")
			r.mustLogin(t, c.Original, "first-1")
		}
	})
}

func TestCloneRefusals(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		s := r.root(t)
		o, clone := fresh("o"), fresh("c")
		r.user(t, o, "%", "", "first-1")
		r.user(t, o, "10.%", "", "first-1")
		r.user(t, clone, "%", "", "mine-1")
		c := engines.Clone{Original: o, Clone: clone}
		state(t, s, c, engines.CloneForeign)
		_, err := s.SyncClone(t.Context(), engines.Clone{Original: "nobody-here", Clone: clone})
		want(t, err, secrets.Invalid, "nobody-here")
		r.mustLogin(t, clone, "mine-1")

		r.do(t, "ALTER USER "+account(o, "10.%")+" ACCOUNT LOCK")
		_, err = s.SyncClone(t.Context(), c)
		want(t, err, secrets.Invalid, "locked", r.endpoint().Addr())
		r.do(t, "ALTER USER "+account(o, "10.%")+" ACCOUNT UNLOCK")

		_, err = s.SyncClone(t.Context(), engines.Clone{Original: o, Clone: strings.Repeat("c", 129)})
		want(t, err, secrets.Invalid, "129 characters")
		_, err = s.SyncClone(t.Context(), engines.Clone{Original: o, Clone: strings.Repeat("c", 33)})
		if r.maria() && err != nil {
			t.Errorf("33 characters are fine here: %v", err)
		} else if !r.maria() {
			want(t, err, secrets.Invalid, "33 characters")
		}

		// Adopted: the same rows, the same rights, still its own password.
		sync(t, s, c)
		sameUsers(t, r, c, "adopted")
		r.mustLogin(t, clone, "mine-1")
		if err := s.LockClone(t.Context(), engines.Clone{Original: o, Clone: "absent-here"}); err != nil {
			t.Errorf("nothing to lock: %v", err)
		}
	})
}
