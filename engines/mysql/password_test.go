package mysql

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

func TestSetPassword(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, plugin := range r.plugins() {
			t.Run(plugin, func(t *testing.T) {
				user := fresh("set")
				r.user(t, user, "%", plugin, "first-1")
				s := r.root(t)
				if err := s.Preflight(t.Context(), change(user, "second-2")); err != nil {
					t.Fatal(err)
				}
				for range 2 { // saying it again is harmless
					if err := s.SetPassword(t.Context(), change(user, "second-2")); err != nil {
						t.Fatal(err)
					}
				}
				r.mustLogin(t, user, "second-2")
				r.mustNotLogin(t, user, "first-1")

				if err := r.setSelf(t, user, "second-2", "third-3"); err != nil {
					t.Fatal(err)
				}
				r.mustLogin(t, user, "third-3")
				r.mustNotLogin(t, user, "second-2")
				if got := r.plugin(t, user); got != plugin {
					t.Errorf("the plug-in became %s", got)
				}
			})
		}
	})
}

// A change by name reaches every row of the user and none of others.
func TestSetPasswordOnEveryRow(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		user := fresh("rows")
		plugins := r.plugins()
		hosts := []string{"%", "127.0.0.1", "10.%"}
		for i, h := range hosts {
			r.user(t, user, h, plugins[i%len(plugins)], "first-1")
		}
		r.user(t, user+"x", "%", "", "first-1")
		before := r.plugin(t, user)
		if err := r.set(t, user, "second-2"); err != nil {
			t.Fatal(err)
		}
		r.mustLogin(t, user, "second-2")
		r.do(t, "DROP USER "+account(user, "127.0.0.1"))
		r.mustLogin(t, user, "second-2")
		r.mustLogin(t, user+"x", "first-1")
		if got := r.plugin(t, user); !strings.HasPrefix(before, plugins[0]) || strings.Contains(got, "sha256") {
			t.Errorf("plug-ins %s, then %s", before, got)
		}
	})
}

// The rule for all that follows: literals are right whatever mode the server's
// administrator has set.
func TestNastyNamesAndPasswords(t *testing.T) {
	names := []string{
		`it's`, `back\slash`, `back\`, "tick`", `"quoted"`, `a'b\c"d` + "`" + `e$%?`, "tab\tin", "ünïcødé", "日本語",
		"$1 %s ?", "a@b", "a@'%'", "--x", "'; DROP USER x; --", "new\nline", strings.Repeat("n", 31) + "m",
	}
	passwords := []string{
		`it's`, `\`, `\\`, `a\'b`, `'`, `''`, `"`, "`", `$1 %s ? {}`, " space ", "ünïcødé", "日本語 🔑", "*" + strings.Repeat("A", 40),
		"$A$005$", "new\nline\ttab", strings.Repeat("p", 213), "--", "/*! */",
	}
	each(t, func(t *testing.T, r *rig) {
		names := names
		if r.maria() { // MySQL trims a leading space
			names = append(slices.Clone(names), " leading", strings.Repeat("ü", 128))
		}
		defer r.do(t, "SET GLOBAL sql_mode = DEFAULT")
		for _, mode := range []string{"", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"} {
			r.do(t, "SET GLOBAL sql_mode = "+quote(mode))
			for i, name := range names {
				r.do(t, "DROP USER IF EXISTS "+account(name, "%"))
				r.user(t, name, "%", r.plugins()[i%len(r.plugins())], "first-1")
				if err := r.engine.CheckUsername(name); err != nil {
					t.Error(err)
				}
			}
			for i, password := range passwords {
				name := names[i%len(names)]
				if err := r.set(t, name, password); err != nil {
					t.Fatal(err)
				}
				r.mustLogin(t, name, password)
				next := passwords[(i+1)%len(passwords)]
				if err := r.setSelf(t, name, password, next); err != nil {
					t.Fatalf("%q changes himself: %v", name, err)
				}
				r.mustLogin(t, name, next)
				if err := r.set(t, name, password); err != nil {
					t.Fatal(err)
				}
				r.mustLogin(t, name, password)
			}
			for _, name := range names {
				r.do(t, "DROP USER "+account(name, "%"))
			}
		}
	})
}

// No statement log holds a password: neither that of a change through a
// superuser, nor of a user's own, of a clone or of an undo.
func TestNothingLeaks(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, plugin := range r.plugins() {
			user := fresh("leak")
			r.user(t, user, "%", plugin, "known")
			if err := r.set(t, user, "LeakBySuperuser-1"); err != nil {
				t.Fatal(err)
			}
			if err := r.setSelf(t, user, "LeakBySuperuser-1", "LeakBySelf-2"); err != nil {
				t.Fatal(err)
			}
			if err := r.set(t, user, "LeakBySuperuser-1"); err != nil { // an undo
				t.Fatal(err)
			}
			clone := engines.Clone{Original: user, Clone: user + "_clone"}
			s := r.root(t)
			if _, err := s.SyncClone(t.Context(), clone); err != nil {
				t.Fatal(err)
			}
			c := change(clone.Clone, "LeakByClone-3")
			c.Clone = true
			if err := s.SetPassword(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			r.mustLogin(t, clone.Clone, "LeakByClone-3")
			log, err := os.ReadFile(r.GeneralLog)
			if err != nil {
				t.Fatal(err)
			}
			for _, statement := range []string{"ALTER USER", user} {
				if !strings.Contains(string(log), statement) {
					t.Fatalf("the log does not show %q: this test proves nothing", statement)
				}
			}
			for _, line := range strings.Split(string(log), "\n") {
				if strings.Contains(line, "LeakBy") {
					t.Errorf("in the general log: %s", line)
				}
			}
		}
	})
}

// What is not a single password that Pawl can hash is left alone.
func TestForeignPlugins(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		type foreign struct{ clause, says string }
		cases := []foreign{{"IDENTIFIED WITH sha256_password BY 'first-1'", "sha256_password"}}
		if r.maria() {
			cases = []foreign{
				{"IDENTIFIED VIA unix_socket", "unix_socket"},
				{"IDENTIFIED VIA mysql_native_password USING PASSWORD('first-1') OR ed25519 USING PASSWORD('other')", "more than one way"},
			}
		}
		for _, c := range cases {
			user := fresh("plug")
			r.do(t, "CREATE USER "+account(user, "%")+" "+c.clause)
			before := r.column(t, "SHOW CREATE USER "+account(user, "%"))
			s := r.root(t)
			want(t, s.Preflight(t.Context(), change(user, "second-2")), secrets.Invalid, c.says, r.endpoint().Addr())
			want(t, s.SetPassword(t.Context(), change(user, "second-2")), secrets.Invalid, c.says)
			_, err := s.SyncClone(t.Context(), engines.Clone{Original: user, Clone: user + "_clone"})
			want(t, err, secrets.Invalid, c.says)
			if after := r.column(t, "SHOW CREATE USER "+account(user, "%")); !slices.Equal(before, after) {
				t.Error("the account was changed")
			}
			if c.says == "more than one way" {
				want(t, r.setSelf(t, user, "first-1", "second-2"), secrets.Invalid, c.says)
			}
			if !r.maria() {
				plain := change(user, "second-2")
				plain.Plain = true
				if err := s.SetPassword(t.Context(), plain); err != nil {
					t.Error(err)
				}
				if got := r.plugin(t, user); got != "sha256_password" {
					t.Errorf("the plug-in became %s", got)
				}
			}
		}
	})
}

func TestRefusedChanges(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		user, locked := fresh("ref"), fresh("ref")
		r.user(t, user, "%", "", "first-1")
		r.user(t, locked, "%", "", "first-1")
		r.do(t, "ALTER USER "+account(locked, "%")+" ACCOUNT LOCK")
		s := r.root(t)
		want(t, s.Preflight(t.Context(), change("nobody-here", "second-2")), secrets.Invalid, "no user", r.endpoint().Addr())
		want(t, s.SetPassword(t.Context(), change("nobody-here", "second-2")), secrets.Invalid, "no user")
		want(t, s.Preflight(t.Context(), change(locked, "second-2")), secrets.Denied, "locked", "UNLOCK")
		want(t, s.SetPassword(t.Context(), change(user, "")), secrets.Invalid, "empty")
		want(t, s.SetPassword(t.Context(), change(user, "a\x00b")), secrets.Invalid, "NUL")
		if !r.maria() {
			want(t, s.SetPassword(t.Context(), change(user, strings.Repeat("x", 257))), secrets.Invalid, "257 bytes")
		}
		self := change("somebody-else", "second-2")
		self.Self = true
		want(t, s.SetPassword(t.Context(), self), secrets.Invalid, "cannot change")

		// A user without rights, changing another one.
		mine := r.dial(t, user, "first-1")
		want(t, mine.Preflight(t.Context(), change(locked, "second-2")), secrets.Denied, "GRANT SELECT ON mysql.*")
		want(t, mine.SetPassword(t.Context(), change(locked, "second-2")), secrets.Denied)
		r.mustLogin(t, user, "first-1")

		clone := change("absent_clone", "second-2")
		clone.Clone = true
		if err := s.Preflight(t.Context(), clone); err != nil {
			t.Errorf("a clone that is still to be made: %v", err)
		}
	})
}

// MySQL asks for the current password where the account says so.
func TestRequireCurrent(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if r.maria() {
			t.Skip("MariaDB has no PASSWORD REQUIRE CURRENT")
		}
		user := fresh("cur")
		r.user(t, user, "%", "", "first-1")
		r.do(t, "ALTER USER "+account(user, "%")+" PASSWORD REQUIRE CURRENT")
		s := r.dial(t, user, "first-1")
		c := change(user, "second-2")
		c.Self = true
		want(t, s.SetPassword(t.Context(), c), secrets.Denied, "3892")
		c.Old = secrets.NewPassword("wrong")
		want(t, s.SetPassword(t.Context(), c), secrets.Denied, "3891")
		c.Old = secrets.NewPassword("first-1")
		if err := s.SetPassword(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		r.mustLogin(t, user, "second-2")
	})
}

// The hash follows the server's own number of rounds.
func TestDigestRounds(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if r.maria() {
			t.Skip("MariaDB has no caching_sha2_password")
		}
		user := fresh("rounds")
		r.user(t, user, "%", "", "first-1")
		if err := r.set(t, user, "second-2"); err != nil {
			t.Fatal(err)
		}
		rounds := r.column(t, "SELECT @@caching_sha2_password_digest_rounds")[0]
		var n int
		fmt.Sscan(rounds, &n)
		got := r.column(t, "SELECT SUBSTR(authentication_string, 4, 3) FROM mysql.user WHERE User = "+quote(user))[0]
		if got != fmt.Sprintf("%03X", n/1000) {
			t.Errorf("%s rounds for the server's %d", got, n)
		}
	})
}
