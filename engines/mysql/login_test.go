package mysql

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

func TestFactsAndNames(t *testing.T) {
	registry := engines.NewRegistry(New()...)
	for _, name := range []string{"mysql", "aurora-mysql", "mariadb"} {
		e, err := registry.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if f := e.Facts(); f.DefaultPort != 3306 || f.DefaultDatabase != "" || f.PasswordExclude != `/@"'\` {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestCheckUsername(t *testing.T) {
	mysql, mariadb := New()[0], New()[1]
	for _, c := range []struct {
		name           string
		mysql, mariadb bool
	}{
		{"app", true, true},
		{"ünïcødé 'x' \\", true, true},
		{strings.Repeat("ü", 32), true, true},
		{strings.Repeat("n", 33), false, true},
		{strings.Repeat("ü", 128), false, true},
		{strings.Repeat("n", 129), false, false},
		{"", false, false},
		{"trailing ", false, false},
		{"trailing\t", false, false},
		{"nul\x00", false, false},
		{"key🔑", false, false},
		{"latin\xe9", false, false},
	} {
		for _, side := range []struct {
			engines.Engine
			ok bool
		}{{mysql, c.mysql}, {mariadb, c.mariadb}} {
			err := side.CheckUsername(c.name)
			if (err == nil) != side.ok || err != nil && secrets.KindOf(err) != secrets.Invalid {
				t.Errorf("%v: %q: %v", side.Facts().Names, c.name, err)
			}
		}
	}
}

// Every way a login can fail, as the real servers fail it.
func TestLoginErrors(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.do(t, "CREATE DATABASE IF NOT EXISTS logins")
		user := func(clauses ...string) string {
			u := fresh("login")
			r.user(t, u, "%", "", "right-1")
			for _, c := range clauses {
				r.do(t, "ALTER USER "+account(u, "%")+" "+c)
			}
			return u
		}
		type answer struct {
			kind          secrets.Kind
			authenticated bool
			text          string
		}
		plain := func(*engines.Endpoint) {}
		for _, c := range []struct {
			name     string
			user     string
			password string
			at       func(*engines.Endpoint)
			want     answer
		}{
			{"wrong password", user(), "wrong", plain, answer{secrets.Denied, false, "REQUIRE SSL"}},
			{"unknown user", "nobody-here", "right-1", plain, answer{secrets.Denied, false, "1045"}},
			{"empty user name", "", "right-1", plain, answer{secrets.Invalid, false, "empty"}},
			{"empty password", user(), "", plain, answer{secrets.Invalid, false, "empty"}},
			{"locked", user("ACCOUNT LOCK"), "right-1", plain, answer{secrets.Denied, true, "UNLOCK"}},
			{"locked and wrong", user("ACCOUNT LOCK"), "wrong", plain, answer{secrets.Denied, false, "1045"}},
			{"expired", user("PASSWORD EXPIRE"), "right-1", plain, answer{secrets.Denied, true, "expired"}},
			{"no such database", user(), "right-1", func(at *engines.Endpoint) { at.Database = "nowhere" }, answer{secrets.Invalid, true, "database"}},
			{"no right to the database", user(), "right-1", func(at *engines.Endpoint) { at.Database = "logins" }, answer{secrets.Invalid, true, "database"}},
			{"must use TLS", user("REQUIRE SSL"), "right-1", plain, answer{secrets.Denied, false, "REQUIRE SSL"}},
			{"used up", user("WITH MAX_CONNECTIONS_PER_HOUR 1"), "right-1", func(at *engines.Endpoint) { at.Database = "used" }, answer{secrets.Transient, true, "limit"}},
			{"nobody listens", "app", "right-1", func(at *engines.Endpoint) { at.Port = closedPort(t) }, answer{secrets.Transient, false, "cannot connect"}},
			{"unknown authority", user(), "right-1", func(at *engines.Endpoint) {
				at.TLS, _ = engines.NewTLS(secrets.TLSRules{Mode: secrets.TLSVerifyFull}, r.Host, false, false)
			}, answer{secrets.Invalid, false, "tls.ca_file"}},
			{"another host name", user(), "right-1", func(at *engines.Endpoint) {
				at.TLS = r.tlsFor(t, secrets.TLSVerifyFull)
				at.TLS.Config.ServerName = "db.example.com"
			}, answer{secrets.Invalid, false, "another host name"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				at := r.endpoint()
				c.at(&at)
				if at.Database == "used" {
					at.Database = ""
					r.mustLogin(t, c.user, c.password)
				}
				s, err := r.engine.Dial(t.Context(), at, engines.Login{Username: c.user, Password: secrets.NewPassword(c.password)})
				if err == nil { // MariaDB lets an expired user in, to heal himself
					defer s.Close()
					err = s.Check(t.Context(), engines.Check{Query: "SELECT 1"})
				}
				want(t, err, c.want.kind, c.want.text, at.Addr())
				if secrets.Authenticated(err) != c.want.authenticated {
					t.Errorf("authenticated is %t: %v", !c.want.authenticated, err)
				}
				if err != nil && c.password != "" && strings.Contains(err.Error(), c.password) {
					t.Error("the error holds the password")
				}
			})
		}
	})
}

func closedPort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTLS(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		user := fresh("tls")
		long := strings.Repeat("l", 256)
		r.user(t, user, "%", "", long)
		r.do(t, "ALTER USER "+account(user, "%")+" REQUIRE SSL")
		for _, mode := range []string{secrets.TLSRequire, secrets.TLSVerifyCA, secrets.TLSVerifyFull} {
			at := r.endpoint()
			at.TLS = r.tlsFor(t, mode)
			s, err := r.engine.Dial(t.Context(), at, engines.Login{Username: user, Password: secrets.NewPassword(long)})
			if err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			defer s.Close()
			rows, err := s.(*session).query(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'")
			if err != nil || rows[0][1] == "" {
				t.Errorf("%s: cipher %q, %v", mode, rows, err)
			}
		}
	})
}

// A server that declines TLS is never talked to in the clear instead.
func TestNoTLS(t *testing.T) {
	r := ownRig(t, servers.MariaDB) // a MySQL of our version always offers TLS
	at := r.endpoint()
	at.TLS, _ = engines.NewTLS(secrets.TLSRules{Mode: secrets.TLSRequire}, r.Host, false, false)
	_, err := r.engine.Dial(t.Context(), at, engines.Login{Username: r.Admin, Password: secrets.NewPassword(r.AdminPassword)})
	want(t, err, secrets.Invalid, "does not offer TLS", at.Addr())
}

// A frozen server ends the login with the caller's time.
func TestFrozenServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	at := engines.Endpoint{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	_, err = New()[0].Dial(ctx, at, engines.Login{Username: "app", Password: secrets.NewPassword("x")})
	want(t, err, secrets.Transient, at.Addr())
}

func TestCheck(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		user := fresh("a@check")
		r.user(t, user, "%", "", "right-1")
		s := r.dial(t, user, "right-1")
		if err := s.Check(t.Context(), engines.Check{CloneOf: "x", Query: "SELECT 1 UNION SELECT 2"}); err != nil {
			t.Error(err)
		}
		// The query runs under the server's own sql_mode, also in a session
		// that has made a change.
		c := change(user, "second-2")
		c.Self, c.Old = true, secrets.NewPassword("right-1")
		if err := s.SetPassword(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(t.Context(), engines.Check{Query: `SELECT 1 FROM DUAL WHERE '\'' = CHAR(39)`}); err != nil {
			t.Error(err)
		}
		c.New, c.Old = secrets.NewPassword(`it's \ `), secrets.NewPassword("second-2")
		if err := s.SetPassword(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		r.mustLogin(t, user, `it's \ `)
		want(t, s.Check(t.Context(), engines.Check{Query: "SELECT * FROM mysql.user"}), secrets.Denied, "check_query")
		want(t, s.Check(t.Context(), engines.Check{Query: "SELECT nonsense"}), secrets.Invalid, "check_query")
	})
}

// An account that the server prefers to the one meant.
func TestAnotherIdentity(t *testing.T) {
	eachOwn(t, func(t *testing.T, r *rig) {
		r.user(t, "app", "%", "", "same-1")
		r.user(t, "", "127.0.0.1", "", "same-1")
		defer r.do(t, "DROP USER app, ''@'127.0.0.1'")
		want(t, r.login(t, "app", "same-1"), secrets.Invalid, "anonymous", r.endpoint().Addr())
	})
}

// The server blocks an account after wrong passwords: then the right one is
// refused too, and more tries make it worse.
func TestBlocked(t *testing.T) {
	eachOwn(t, func(t *testing.T, r *rig) {
		user := fresh("blocked")
		r.user(t, user, "%", "", "right-1")
		if r.maria() {
			r.do(t, "SET GLOBAL max_password_errors = 1")
			defer r.do(t, "SET GLOBAL max_password_errors = DEFAULT")
		} else {
			r.do(t, "ALTER USER "+user+" FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1")
		}
		if err := r.login(t, user, "wrong"); err == nil {
			t.Fatal("a wrong password")
		}
		err := r.login(t, user, "right-1")
		want(t, err, secrets.Denied, "blocked")
		if secrets.Authenticated(err) {
			t.Error("a blocked account proves no password")
		}
	})
}

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"8.0.20": false, "8.0.21": true, "8.0.36-28": true, "8.4.3": true, "9.7.4-2": true, "5.7.44-log": false,
		"10.5.29-MariaDB": false, "10.6.1-MariaDB-log": true, "10.11.19-MariaDB-0+deb12u1-log": true, "11.4.2-MariaDB": true, "12.0.1-MariaDB": true,
	} {
		if got := supported(version, strings.Contains(version, "MariaDB")); got != ok {
			t.Errorf("%s: %t", version, got)
		}
	}
}

func TestSplitAccount(t *testing.T) {
	for in, want := range map[string][2]string{"app@%": {"app", "%"}, "a@b@10.%": {"a@b", "10.%"}, "@localhost": {"", "localhost"}} {
		if u, h := splitAccount(in); [2]string{u, h} != want {
			t.Errorf("%s: %s", in, fmt.Sprint(u, h))
		}
	}
}
