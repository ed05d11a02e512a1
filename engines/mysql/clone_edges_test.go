package mysql

import (
	"strings"
	"testing"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// What the servers themselves print so that nobody could read it back.
func TestCloneOddities(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o, role := fresh("o"), fresh("r")
		r.user(t, o, "%", "", "first-1")
		r.do(t, "ALTER USER "+o+` REQUIRE ISSUER '/CN=it''s ISSUER ''x'' \ me' SUBJECT 'a\''b'`, "CREATE ROLE "+role, "GRANT "+role+" TO "+o)
		if r.maria() {
			r.do(t, "SET DEFAULT ROLE "+role+" FOR "+o)
		} else {
			r.do(t, "ALTER USER "+o+" DEFAULT ROLE "+role)
		}
		// MariaDB goes on naming a default role that was revoked; a clone
		// cannot have it.
		r.do(t, "REVOKE "+role+" FROM "+o)
		s := r.root(t)
		c := engines.Clone{Original: o, Clone: o + "_clone"}
		sync(t, s, c)
		for _, column := range []string{"x509_issuer", "x509_subject", "ssl_cipher", "ssl_type"} {
			got := r.column(t, "SELECT CAST("+column+" AS CHAR) FROM mysql.user WHERE User IN ("+quote(o)+", "+quote(c.Clone)+")")
			if len(got) != 2 || got[0] != got[1] {
				t.Errorf("%s: %q", column, got)
			}
		}
		if got := strings.Join(r.column(t, "SHOW GRANTS FOR "+c.Clone), " "); strings.Contains(got, role) {
			t.Error(got)
		}
	})
}

// Proxy rights: the account's own are copied, others' over it are named.
func TestCloneProxies(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o, proxied, proxy := fresh("o"), fresh("it's proxied"), fresh("p")
		for _, u := range []string{o, proxied, proxy} {
			r.user(t, u, "%", "", "first-1")
		}
		if len(r.column(t, "SELECT 1 FROM mysql.proxies_priv WHERE User = 'root' AND Host = '127.0.0.1' AND With_grant = 1")) == 0 {
			r.do(t, "INSERT INTO mysql.proxies_priv (Host, User, Proxied_host, Proxied_user, With_grant, Grantor) VALUES ('127.0.0.1', 'root', '', '', 1, '')", "FLUSH PRIVILEGES")
		}
		r.do(t, "GRANT PROXY ON "+account(proxied, "%")+" TO "+account(o, "%")+" WITH GRANT OPTION",
			"GRANT PROXY ON "+account(o, "%")+" TO "+account(proxy, "%"))
		s := r.root(t)
		c := engines.Clone{Original: o, Clone: o + "_clone"}
		warnings, err := s.SyncClone(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], proxy+"@%") {
			t.Errorf("warnings %q", warnings)
		}
		sameUsers(t, r, c, "now")
		r.do(t, "REVOKE PROXY ON "+account(proxied, "%")+" FROM "+account(o, "%"))
		sync(t, s, c)
		sameUsers(t, r, c, "now")
	})
}

// MySQL's partial revokes: global privileges that do not count in a schema.
func TestClonePartialRevokes(t *testing.T) {
	eachOwn(t, func(t *testing.T, r *rig) {
		if r.maria() {
			t.Skip("MariaDB has no partial revokes")
		}
		o := fresh("o")
		r.user(t, o, "%", "", "first-1")
		r.do(t, "SET GLOBAL partial_revokes = ON", "CREATE DATABASE IF NOT EXISTS hidden", "GRANT SELECT, INSERT ON *.* TO "+o, "REVOKE INSERT ON hidden.* FROM "+o)
		s := r.root(t)
		c := engines.Clone{Original: o, Clone: o + "_clone"}
		same := func() {
			t.Helper()
			sync(t, s, c)
			sameUsers(t, r, c, "partial revokes")
		}
		same()
		r.do(t, "REVOKE SELECT ON mysql.* FROM "+o, "GRANT INSERT ON hidden.* TO "+o)
		same()
		r.do(t, "REVOKE SELECT, INSERT ON *.* FROM "+o, "GRANT INSERT ON hidden.* TO "+o)
		same()
		r.do(t, "DROP USER "+o+", "+o+"_clone", "SET GLOBAL partial_revokes = OFF")
	})
}

// What a managed server gives its administrator is enough, and what is missing
// is named.
func TestLeastRights(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o, admin := fresh("o"), fresh("admin")
		db := "db_" + o
		a := account(admin, "%")
		r.user(t, o, "%", "", "first-1")
		r.user(t, admin, "%", "", "admin-1")
		r.do(t, "CREATE DATABASE "+db, "CREATE ROLE r_"+o, "GRANT SELECT, INSERT ON "+db+".* TO "+account(o, "%"))
		c := engines.Clone{Original: o, Clone: o + "_clone"}
		set := change(o, "second-2")

		s := r.dial(t, admin, "admin-1")
		want(t, s.Preflight(t.Context(), set), secrets.Denied, "GRANT SELECT ON mysql.*")
		r.do(t, "GRANT SELECT ON mysql.* TO "+a)
		s = r.dial(t, admin, "admin-1")
		want(t, s.Preflight(t.Context(), set), secrets.Denied, "GRANT CREATE USER ON *.*")
		want(t, s.SetPassword(t.Context(), set), secrets.Denied, "CREATE USER")
		r.mustLogin(t, o, "first-1")

		r.do(t, "GRANT CREATE USER ON *.* TO "+a)
		s = r.dial(t, admin, "admin-1")
		if err := s.Preflight(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		if err := s.SetPassword(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		r.mustLogin(t, o, "second-2")

		// Enough for passwords; a clone needs what is to be copied.
		_, err := s.SyncClone(t.Context(), c)
		want(t, err, secrets.Denied, "WITH GRANT OPTION", "GRANT INSERT, SELECT ON")
		state(t, s, c, engines.CloneMarked)
		r.do(t, "GRANT SELECT, INSERT ON "+db+".* TO "+a+" WITH GRANT OPTION")
		s = r.dial(t, admin, "admin-1")
		sync(t, s, c)
		set = change(c.Clone, "third-3")
		set.Clone = true
		if err := s.SetPassword(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		r.mustLogin(t, c.Clone, "third-3")
		sameUsers(t, r, c, "now")

		// A role with default needs the right to give it.
		r.do(t, "GRANT r_"+o+" TO "+account(o, "%"), "GRANT r_"+o+" TO "+a+" WITH ADMIN OPTION")
		if r.maria() {
			r.do(t, "SET DEFAULT ROLE r_"+o+" FOR "+account(o, "%"))
			_, err := r.dial(t, admin, "admin-1").SyncClone(t.Context(), c)
			want(t, err, secrets.Denied, "UPDATE ON mysql.*")
			r.do(t, "GRANT UPDATE ON mysql.* TO "+a)
		} else {
			r.do(t, "ALTER USER "+account(o, "%")+" DEFAULT ROLE r_"+o)
		}
		s = r.dial(t, admin, "admin-1")
		sync(t, s, c)
		sameUsers(t, r, c, "now")
		if err := s.LockClone(t.Context(), c); err != nil {
			t.Error(err)
		}
	})
}
