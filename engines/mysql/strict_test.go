package mysql

import (
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

func policy(t *testing.T, err error, want bool) {
	t.Helper()
	if secrets.Policy(err) != want {
		t.Errorf("policy is %t: %v", !want, err)
	}
}

// A MariaDB that judges passwords refuses every hash, and says so; the plain
// password goes there only by the operator's leave.
func TestPolicyMariaDB(t *testing.T) {
	r := ownRig(t, servers.MariaDB)
	user := fresh("pol")
	r.user(t, user, "%", ed25519Plugin, "first-1")
	r.user(t, user, "10.%", nativePlugin, "first-1")
	r.do(t, "INSTALL SONAME 'simple_password_check'")
	defer r.do(t, "UNINSTALL SONAME 'simple_password_check'")
	s := r.root(t)
	before := r.plugin(t, user)

	err := s.SetPassword(t.Context(), change(user, "Good-enough-2"))
	want(t, err, secrets.Invalid, "plain_password: allow")
	r.do(t, "DROP USER "+account(user, "10.%"))
	err = s.SetPassword(t.Context(), change(user, "Good-enough-2"))
	want(t, err, secrets.Invalid, "plain_password: allow")
	policy(t, err, false)
	want(t, r.setSelf(t, user, "first-1", "Good-enough-2"), secrets.Invalid, "plain_password: allow")
	r.mustLogin(t, user, "first-1")

	plain := func(password string, self bool) engines.PasswordChange {
		c := change(user, password)
		c.Plain, c.Self = true, self
		return c
	}
	err = s.SetPassword(t.Context(), plain("weak", false))
	want(t, err, secrets.Invalid, "1819")
	policy(t, err, true)
	for _, password := range []string{`Quotes ' and " 1`, `Back\slash\'s \\ 2`, "Good-enough-2"} {
		if err := s.SetPassword(t.Context(), plain(password, false)); err != nil {
			t.Fatal(err)
		}
		r.mustLogin(t, user, password)
	}
	r.mustLogin(t, user, "Good-enough-2")
	self := r.dial(t, user, "Good-enough-2")
	err = self.SetPassword(t.Context(), plain("weak", true))
	want(t, err, secrets.Invalid, "1819")
	policy(t, err, true)
	if err := self.SetPassword(t.Context(), plain("Good-enough-3", true)); err != nil {
		t.Fatal(err)
	}
	r.mustLogin(t, user, "Good-enough-3")

	// Without the policy, being allowed changes nothing: the hash it is.
	r.do(t, "SET GLOBAL strict_password_validation = 0")
	defer r.do(t, "SET GLOBAL strict_password_validation = 1")
	if err := s.SetPassword(t.Context(), plain("weak", false)); err != nil {
		t.Errorf("a hash is not judged: %v", err)
	}
	r.do(t, "SET GLOBAL strict_password_validation = 1")
	if got := r.plugin(t, user); !slices.Contains([]string{before, ed25519Plugin}, got) {
		t.Errorf("the plug-in became %s", got)
	}

	// Clones are made and locked without a hash.
	c := engines.Clone{Original: user, Clone: user + "_clone"}
	sync(t, s, c)
	state(t, s, c, engines.CloneMarked)
	set := plain("Good-enough-4", false)
	set.Username, set.Clone = c.Clone, true
	if err := s.SetPassword(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	r.mustLogin(t, c.Clone, "Good-enough-4")
	if err := s.LockClone(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	state(t, s, c, engines.CloneMarked)
	r.mustNotLogin(t, c.Clone, "Good-enough-4")
	if err := r.login(t, c.Clone, markPassword(user)); secrets.KindOf(err) != secrets.Denied || !secrets.Authenticated(err) {
		t.Errorf("the mark's password should meet the lock: %v", err)
	}
}

// A MySQL that judges passwords judges plain ones only.
func TestPolicyMySQL(t *testing.T) {
	r := ownRig(t, servers.MySQL)
	user := fresh("pol")
	r.user(t, user, "%", "", "first-1")
	r.do(t, "INSTALL COMPONENT 'file://component_validate_password'")
	defer r.do(t, "UNINSTALL COMPONENT 'file://component_validate_password'")
	s := r.root(t)
	if err := s.SetPassword(t.Context(), change(user, "weak")); err != nil {
		t.Fatalf("a hash is not judged: %v", err)
	}
	err := r.setSelf(t, user, "weak", "feeble")
	want(t, err, secrets.Invalid, "1819")
	policy(t, err, true)
	if err := r.setSelf(t, user, "weak", "Good-enough-2"); err != nil {
		t.Fatal(err)
	}
	r.do(t, "ALTER USER "+user+" PASSWORD HISTORY 5")
	if err := r.setSelf(t, user, "Good-enough-2", "Good-enough-3"); err != nil {
		t.Fatal(err)
	}
	err = r.setSelf(t, user, "Good-enough-3", "Good-enough-3")
	want(t, err, secrets.Invalid, "3638")
	policy(t, err, true)

	clone := engines.Clone{Original: user, Clone: user + "_clone"}
	sync(t, s, clone)
	state(t, s, clone, engines.CloneMarked)
}

func TestReadOnly(t *testing.T) {
	eachOwn(t, func(t *testing.T, r *rig) {
		user, admin := fresh("ro"), fresh("admin")
		r.user(t, user, "%", "", "first-1")
		r.user(t, admin, "%", "", "admin-1")
		r.do(t, "GRANT CREATE USER ON *.* TO "+admin, "GRANT SELECT ON mysql.* TO "+admin)
		on, off := []string{"SET GLOBAL read_only = 1"}, []string{"SET GLOBAL read_only = 0"}
		if !r.maria() {
			on, off = append(on, "SET GLOBAL super_read_only = 1"), append([]string{"SET GLOBAL super_read_only = 0"}, off...)
		}
		r.do(t, on...)
		defer r.do(t, off...)
		want(t, r.root(t).Preflight(t.Context(), change(user, "second-2")), secrets.Invalid, "admin_host", r.endpoint().Addr())
		want(t, r.dial(t, admin, "admin-1").SetPassword(t.Context(), change(user, "second-2")), secrets.Invalid, "admin_host")
		r.mustLogin(t, user, "first-1")
	})
}

// A server that is configured as a replica, even if it lets one write.
func TestReplica(t *testing.T) {
	eachOwn(t, func(t *testing.T, r *rig) {
		user := fresh("rep")
		r.user(t, user, "%", "", "first-1")
		if r.maria() {
			r.do(t, "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_USER = 'x'")
			defer r.do(t, "RESET REPLICA ALL")
		} else {
			r.do(t, "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_USER = 'x'")
			defer r.do(t, "RESET REPLICA ALL")
		}
		want(t, r.root(t).Preflight(t.Context(), change(user, "second-2")), secrets.Invalid, "replica", "admin_host")
	})
}

// A MySQL that is told to log passwords is not given one.
func TestLogRaw(t *testing.T) {
	r := ownRig(t, servers.MySQL)
	user := fresh("raw")
	r.user(t, user, "%", "", "first-1")
	r.do(t, "SET GLOBAL log_raw = 1")
	defer r.do(t, "SET GLOBAL log_raw = 0")
	want(t, r.setSelf(t, user, "first-1", "second-2"), secrets.Invalid, "log_raw", "superuser")
	s := r.dial(t, user, "first-1")
	c := change(user, "second-2")
	c.Self = true
	want(t, s.SetPassword(t.Context(), c), secrets.Invalid, "log_raw")
	c.Plain = true
	if err := s.SetPassword(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r.mustLogin(t, user, "second-2")
}

// The guards are the server's: a statement that waits for a lock ends by
// itself and was not applied, and a session that nobody uses ends too.
func TestGuards(t *testing.T) {
	eachOwn(t, func(t *testing.T, r *rig) {
		user := fresh("guard")
		r.user(t, user, "%", "", "first-1")
		at := r.endpoint()
		at.Guard = time.Second
		s, err := r.engine.Dial(t.Context(), at, engines.Login{Username: r.Admin, Password: secrets.NewPassword(r.AdminPassword)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		lock, err := r.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if _, err := lock.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
			t.Fatal(err)
		}
		err = s.SetPassword(t.Context(), change(user, "second-2"))
		if _, err := lock.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Fatal(err)
		}
		want(t, err, secrets.Transient, "lock")
		r.mustLogin(t, user, "first-1")

		rows, err := s.(*session).query(t.Context(), "SELECT CONNECTION_ID()")
		if err != nil {
			t.Fatal(err)
		}
		within(t, 20*time.Second, "the idle session ends", func() bool {
			return len(r.column(t, "SELECT 1 FROM information_schema.processlist WHERE ID = "+rows[0][0])) == 0
		})
		want(t, s.SetPassword(t.Context(), change(user, "second-2")), secrets.Transient)
		r.mustLogin(t, user, "first-1")
	})
}
