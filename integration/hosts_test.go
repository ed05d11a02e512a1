package integration_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// mostLogins is how often one further host may be tried in one rotation: each
// refused login counts against the user there.
const mostLogins = 6

// TestLaggingReplica: a further host that learns the new password a while later
// delays the promotion, and is not hammered meanwhile.
func TestLaggingReplica(t *testing.T) {
	// By the superuser is as by itself.
	sideBySide(t, 2, []int{0, 2}, wayName, func(t *testing.T, way int) {
		c := newCrash(t, servers.Postgres15, way, 0)
		const lag = 1500 * time.Millisecond
		s := servertest.Shared(t, servers.Postgres15, servers.Options{ReplicaOf: c.db.Server, MinApplyDelay: lag})
		replica := &workload.Database{Server: s, Name: c.db.Name}
		until(t, "the replica knows the user", func() bool { return replica.Login(t.Context(), c.first) == nil })
		p := newProxy(t, s)
		c.rules.Hosts, c.rules.PropagationTimeout = []string{p.addr()}, 10*time.Second
		c.redeclare()

		start := time.Now()
		c.mustEnd("app", rotator.Options{}, rotator.Rotated)
		if took := time.Since(start); took < lag {
			t.Errorf("promoted after %s, before the replica could know", took)
		}
		mustLogin(t, replica, "AWSCURRENT at the replica", c.current("app"))
		if logins, _ := p.counts(); logins < 2 || logins > mostLogins {
			t.Errorf("%d logins at the replica", logins)
		}
	})
}

func wayName(way int) string { return ways[way].name }

// TestHostNeverLearns: a further host that does not accept the new password in
// time. A single user's old password is dead at the primary by then, so it is
// put back; alternating users hold what there is, and a later run promotes it.
func TestHostNeverLearns(t *testing.T) {
	for _, kind := range both {
		stranger := servers.Postgres18 // knows no such user
		if !kind.IsPostgres() {
			stranger = servers.MySQL
		}
		t.Run(string(kind), func(t *testing.T) {
			sideBySide(t, len(ways), []int{0, 1, 2}, wayName, func(t *testing.T, way int) {
				c := newCrash(t, kind, way, 2)
				p := newProxy(t, servertest.Shared(t, stranger))
				c.rules.Hosts, c.rules.PropagationTimeout = []string{p.addr()}, time.Second
				c.redeclare()
				current := c.holder("app", secrets.Current)
				_, _, err := c.run("app", rotator.Options{})
				wantError(t, err, secrets.Transient, "testSecret", p.addr(), "propagation_timeout")
				var lag *strategies.PropagationError
				if !errors.As(err, &lag) {
					t.Errorf("not a PropagationError: %v", err)
				}
				if logins, _ := p.counts(); logins < 2 || logins > mostLogins {
					t.Errorf("%d logins at the host", logins)
				}
				if c.holder("app", secrets.Current) != current {
					t.Error("promoted what a host does not accept")
				}
				mustLogin(t, c.db, "AWSCURRENT", c.first)

				p.to(c.db.Server) // now it has heard of it
				if !c.alternates() {
					if c.holder("app", secrets.Intent) != current {
						t.Errorf("not undone: %v", c.stages("app"))
					}
					c.atRest("app")
					c.mustEnd("app", rotator.Options{}, rotator.Rotated)
					mustLogin(t, c.db, "AWSCURRENT", c.current("app"))
					return
				}
				c.resumes()
			})
		})
	}
}

// TestAdminHost: changes are made at admin_host and nowhere else; the secret's
// own host only has to accept them.
func TestAdminHost(t *testing.T) {
	for _, kind := range onAll {
		for w, way := range ways {
			t.Run(fmt.Sprintf("%s/%s", kind, way.name), func(t *testing.T) {
				c := newCrash(t, kind, w, 0)
				p := newProxy(t, c.db.Server)
				c.put("app", c.first.With("port", fmt.Sprint(p.port)).Value())
				c.rules.AdminHost = server(c.db)
				c.redeclare()
				for range 2 {
					before, _ := p.counts()
					c.mustEnd("app", rotator.Options{}, rotator.Rotated)
					logins, set := p.counts()
					if set {
						t.Error("a password was set through the secret's own host")
					}
					if logins != before+1 {
						t.Errorf("%d logins at the secret's own host, want one", logins-before)
					}
					cur := c.current("app")
					if port, _ := cur.Get("port"); port != fmt.Sprint(p.port) {
						t.Errorf("the secret's port became %s", port)
					}
					mustLogin(t, c.db, "AWSCURRENT", cur)
				}
			})
		}
	}
}

// TestSecretOfAReplica: a secret whose host is a replica rotates by way of its
// primary.
func TestSecretOfAReplica(t *testing.T) {
	c := newCrash(t, servers.Postgres15, 2, 0)
	s := servertest.Shared(t, servers.Postgres15, servers.Options{ReplicaOf: c.db.Server})
	replica := &workload.Database{Server: s, Name: c.db.Name}
	until(t, "the replica knows the user", func() bool { return replica.Login(t.Context(), c.first) == nil })
	c.put("app", c.first.With("port", fmt.Sprint(s.Port)).Value())
	c.rules.AdminHost = server(c.db)
	c.redeclare()
	for range 2 {
		c.mustEnd("app", rotator.Options{}, rotator.Rotated)
		mustLogin(t, replica, "AWSCURRENT at the replica", c.current("app"))
	}
}

// TestTLS rotates over verified TLS and nothing else: the users may not log in
// without.
func TestTLS(t *testing.T) {
	for _, kind := range onAll {
		s := servertest.Shared(t, kind, servers.Options{TLS: true})
		db := prepared(t, s, "encrypted")
		for w, way := range ways {
			t.Run(fmt.Sprintf("%s/%s", kind, way.name), func(t *testing.T) {
				c := newCrashOn(t, db, w, 0)
				c.rules.TLS = secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: s.CAFile}
				if kind.IsPostgres() {
					// Fails with a division by zero in a session without TLS.
					c.rules.CheckQuery = "SELECT 1 / ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
				} else {
					if err := db.Exec(t.Context(), "ALTER USER '"+c.first.Username()+"'@'%' REQUIRE SSL"); err != nil {
						t.Fatal(err)
					}
				}
				c.redeclare()
				for range 3 {
					c.mustEnd("app", rotator.Options{}, rotator.Rotated)
					mustLogin(t, db, "AWSCURRENT", c.current("app"))
				}
				c.rules.TLS.Mode = secrets.TLSDisable
				c.redeclare()
				_, _, err := c.run("app", rotator.Options{})
				if err == nil {
					t.Error("rotated without TLS: the test proves nothing")
				}
			})
		}
	}
}

// leastRights are what a managed server's administrator has, and what the
// engines' pages in docs/engines tell to grant. app is the user to be rotated,
// master the administrator, db the database.
var leastRights = map[servers.Kind][]string{
	servers.Postgres15: {`ALTER ROLE $master CREATEROLE`},
	servers.Postgres18: {`ALTER ROLE $master CREATEROLE`, `GRANT $app TO $master WITH ADMIN OPTION, INHERIT FALSE, SET FALSE`},
	servers.MariaDB:    mysqlLeast,
	servers.MySQL:      mysqlLeast,
}

var mysqlLeast = []string{
	"GRANT CREATE USER ON *.* TO '$master'@'%'", "GRANT SELECT ON mysql.* TO '$master'@'%'",
	"GRANT SELECT, INSERT ON $db.* TO '$master'@'%' WITH GRANT OPTION",
}

// TestLeastRights: no true superuser is needed, by any strategy.
func TestLeastRights(t *testing.T) {
	for _, kind := range servers.Kinds {
		for _, way := range ways {
			if !way.superuser {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", kind, way.name), func(t *testing.T) {
				db := common(t, kind)
				app, master := newUser(t, db), newUser(t, db)
				names := strings.NewReplacer("$app", app.Username(), "$master", master.Username(), "$db", db.Name)
				for _, g := range leastRights[kind] {
					if err := db.Exec(t.Context(), names.Replace(g)); err != nil {
						t.Fatal(err)
					}
				}
				p := newPawl(t)
				p.create("master", master.Value())
				p.create("app", app.Value())
				p.declare("app", secrets.RotationRules{Strategy: way.strategy, Superuser: "master"})
				for range 3 {
					_, seen, err := p.run("app", rotator.Options{})
					if err != nil {
						t.Fatal(err)
					}
					if strings.Contains(seen, "warning") {
						t.Errorf("not all could be copied: %s", seen)
					}
					mustLogin(t, db, "AWSCURRENT", p.current("app"))
				}
			})
		}
	}
}
