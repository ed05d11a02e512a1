package integration_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// broken is a rotation that would work, until a case breaks something of it.
type broken struct {
	*pawl
	t     *testing.T
	db    *workload.Database
	app   secrets.Credentials // a user that exists
	value secrets.Value       // zero = app
	super secrets.Credentials // what the secret "root" holds
	rules secrets.RotationRules
	at    string // the server that the error names
	left  string // an account that may be there afterwards, locked
	then  func() // runs once the secrets are stored
}

func (b *broken) sql(statements ...string) {
	b.t.Helper()
	if err := b.db.Exec(b.t.Context(), statements...); err != nil {
		b.t.Fatal(err)
	}
}

// finally undoes what a case did to a server that others use too.
func (b *broken) finally(statements ...string) {
	b.t.Cleanup(func() { admin(b.t, b.db).exec(b.t, statements...) })
}

func (b *broken) alternate() { b.rules.Strategy, b.rules.Superuser = secrets.AlternatingUsers, "root" }
func (b *broken) account() string {
	if b.db.Server.Kind.IsPostgres() {
		return `"` + b.app.Username() + `"`
	}
	return "'" + b.app.Username() + "'@'%'"
}

// rename gives the user a name of n characters.
func (b *broken) rename(n int) {
	b.app = user(b.t, b.db, newName(n))
}

// without is the secret's JSON without a key.
func without(c secrets.Credentials, key string) secrets.Value {
	out := secrets.NewCredentials()
	for _, k := range []string{"engine", "host", "port", "username", "password", "dbname"} {
		if v, ok := c.Get(k); ok && k != key {
			out = out.With(k, v)
		}
	}
	return out.Value()
}

// nowhere is a port that nobody listens on.
func nowhere(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

var (
	onPostgres = []servers.Kind{servers.Postgres15}
	onMaria    = []servers.Kind{servers.MariaDB}
	onMySQL    = []servers.Kind{servers.MySQL}
	onMySQLs   = []servers.Kind{servers.MariaDB, servers.MySQL}
	onAll      = []servers.Kind{servers.Postgres15, servers.MariaDB, servers.MySQL}
)

// badInputs are what may be wrong with a secret, its rotation, or its server.
// say is what the error tells: what was refused, and what to do about it.
var badInputs = []struct {
	name  string
	on    []servers.Kind
	spoil func(*broken)
	kind  secrets.Kind
	step  string // "" = createSecret
	blind bool   // no server was reached
	say   []string
}{
	{"not JSON", onPostgres, func(b *broken) { b.value = secrets.Text("user=app password=" + b.app.Password().Reveal()) },
		secrets.Invalid, "", true, []string{"not a JSON object", `{"engine":"postgres"`}},
	{"JSON cut off", onPostgres, func(b *broken) {
		v := string(b.app.Value().Reveal())
		b.value = secrets.Text(v[:len(v)-1])
	}, secrets.Invalid, "", true, []string{"cut off", `{"engine":"postgres"`}},
	{"a JSON array", onPostgres, func(b *broken) { b.value = secrets.Text("[" + string(b.app.Value().Reveal()) + "]") },
		secrets.Invalid, "", true, []string{"does not start with {", `{"engine":"postgres"`}},
	{"a key twice", onPostgres, func(b *broken) {
		v := string(b.app.Value().Reveal())
		b.value = secrets.Text(v[:len(v)-1] + `,"password":"another-password"}`)
	}, secrets.Invalid, "", true, []string{"twice", `{"engine":"postgres"`}},
	{"binary", onPostgres, func(b *broken) { b.value = secrets.Binary(b.app.Value().Reveal()) },
		secrets.Invalid, "", true, []string{"binary", `{"engine":"postgres"`}},
	{"no engine", onPostgres, func(b *broken) { b.value = without(b.app, "engine") },
		secrets.Invalid, "", true, []string{"engine key is missing from secret JSON", "engine: in the configuration", "postgres"}},
	{"no host", onPostgres, func(b *broken) { b.value = without(b.app, "host") },
		secrets.Invalid, "", true, []string{"host key is missing from secret JSON", "pawl secret put"}},
	{"no username", onPostgres, func(b *broken) { b.value = without(b.app, "username") },
		secrets.Invalid, "", true, []string{"username key is missing from secret JSON", "pawl secret put"}},
	{"no password", onPostgres, func(b *broken) { b.value = without(b.app, "password") },
		secrets.Invalid, "", true, []string{"password key is missing from secret JSON", "pawl secret put"}},
	{"an empty password", onMySQLs, func(b *broken) { b.value = b.app.With("password", "").Value() },
		secrets.Invalid, "", true, []string{"password key is missing from secret JSON", "pawl secret put"}},
	{"a port that is none", onPostgres, func(b *broken) { b.value = b.app.With("port", "5432/tcp").Value() },
		secrets.Invalid, "", true, []string{`"port" is not a port number`, "1 to 65535"}},
	{"unknown engine", onPostgres, func(b *broken) { b.value = b.app.With("engine", "postgress").Value() },
		secrets.Invalid, "", true, []string{`unknown engine "postgress"`, "known engines: ", "postgres"}},
	{"a list of hosts", onPostgres, func(b *broken) { b.value = b.app.With("host", "127.0.0.1,127.0.0.2").Value() },
		secrets.Invalid, "", true, []string{"not one host", "hosts:"}},

	{"another host pending", onAll, func(b *broken) {
		b.then = func() {
			b.put("app", b.app.With("host", "127.0.0.2").With("password", "pending-secret").Value(), secrets.Pending)
		}
	}, secrets.Invalid, "", true, []string{"host 127.0.0.2:", "other than current host 127.0.0.1:", "pawl secret stage app AWSPENDING --remove"}},
	{"another user pending", onAll, func(b *broken) {
		b.then = func() { b.put("app", b.app.With("username", b.super.Username()).Value(), secrets.Pending) }
	}, secrets.Invalid, "", true, []string{"other than current user", "pawl secret stage app AWSPENDING --remove"}},

	{"superuser not paired", onAll, func(b *broken) { b.value = b.app.With("masterarn", "root").Value() },
		secrets.Invalid, "", true, []string{"not paired", `superusers: [{secret: root, for: ["app"]}]`}},
	{"superuser of another host", onAll, func(b *broken) {
		b.rules.Superuser, b.super = "root", b.super.With("host", "127.0.0.2")
	}, secrets.Invalid, "", false, []string{"is of 127.0.0.2:", "hosts: ["}},
	{"superuser of another port", onAll, func(b *broken) { b.rules.Superuser, b.super = "root", b.super.With("port", "4711") },
		secrets.Invalid, "", false, []string{"is of 127.0.0.1:4711, not of ", "hosts: ["}},
	{"no such superuser", onPostgres, func(b *broken) { b.rules.Superuser = "gone" },
		secrets.Invalid, "", true, []string{`superuser's secret "gone"`, "can't find"}},
	{"alternating without a superuser", onAll, func(b *broken) { b.rules.Strategy = secrets.AlternatingUsers },
		secrets.Invalid, "", true, []string{"need a superuser", "superuser: in the configuration"}},
	{"superuser's password wrong", onAll, func(b *broken) { b.rules.Superuser, b.super = "root", b.super.With("password", "wrong-secret") },
		secrets.Denied, "", false, []string{"unable to log in as the superuser", "check the superuser's secret"}},
	{"superuser without rights", onPostgres, func(b *broken) { b.rules.Superuser, b.super = "root", newUser(b.t, b.db) },
		secrets.Denied, "", false, []string{"may not change other users", "CREATEROLE"}},
	{"superuser without rights", onMySQLs, func(b *broken) { b.rules.Superuser, b.super = "root", newUser(b.t, b.db) },
		secrets.Denied, "", false, []string{"read the server's accounts", "GRANT SELECT ON mysql.*"}},
	{"superuser without ADMIN", []servers.Kind{servers.Postgres18}, func(b *broken) {
		b.rules.Superuser, b.super = "root", newUser(b.t, b.db)
		b.sql(`ALTER ROLE "` + b.super.Username() + `" CREATEROLE`)
	}, secrets.Denied, "", false, []string{"may not change user", "WITH ADMIN OPTION"}},
	{"superuser without GRANT OPTION", onMySQLs, func(b *broken) {
		b.alternate()
		b.super = newUser(b.t, b.db)
		b.left = b.app.Username() + "_clone@%"
		b.sql("GRANT CREATE USER ON *.* TO '"+b.super.Username()+"'", "GRANT SELECT ON mysql.* TO '"+b.super.Username()+"'")
	}, secrets.Denied, rotator.SetSecret, false, []string{"GRANT INSERT, SELECT ON", "WITH GRANT OPTION"}},
	{"a superuser to be cloned", onPostgres, func(b *broken) {
		b.alternate()
		b.sql("ALTER ROLE " + b.account() + " SUPERUSER")
	}, secrets.Invalid, rotator.SetSecret, false, []string{"is a superuser", "strategy: single-user"}},

	{"too long to clone", onPostgres, func(b *broken) { b.alternate(); b.rename(58) },
		secrets.Invalid, "", true, []string{"unable to clone", "64 bytes", "after 63", "single-user"}},
	{"too long to clone", onMySQL, func(b *broken) { b.alternate(); b.rename(27) },
		secrets.Invalid, "", true, []string{"unable to clone", "33 characters", "allows 32", "single-user"}},
	{"too long to clone", onMaria, func(b *broken) { b.alternate(); b.rename(80); b.app = b.app.With("engine", "mysql") },
		secrets.Invalid, "", true, []string{"allows 32", "shorter user name"}},
	{"a foreign clone", onAll, func(b *broken) { b.alternate(); user(b.t, b.db, b.app.Username()+"_clone") },
		secrets.Invalid, "", true, []string{"exists already, and Pawl did not make it", "adopt_clone: true"}},

	{"the server's rules want to see passwords", onMaria, func(b *broken) {
		b.rules.Superuser = "root"
		b.sql("INSTALL SONAME 'simple_password_check'")
		b.finally("UNINSTALL SONAME 'simple_password_check'")
	}, secrets.Invalid, rotator.SetSecret, false, []string{"takes no password hashes", "plain_password: allow"}},
	{"the server's rules refuse three passwords", onMaria, func(b *broken) {
		b.rules.PlainPassword = true
		b.sql("INSTALL SONAME 'simple_password_check'", "SET GLOBAL simple_password_check_minimal_length = 40")
		b.finally("UNINSTALL SONAME 'simple_password_check'")
	}, secrets.Invalid, rotator.SetSecret, false, []string{"3 generated passwords in a row", "1819", "adapt password: in the configuration"}},
	{"the server's rules refuse three passwords", onMySQL, func(b *broken) {
		b.sql("INSTALL COMPONENT 'file://component_validate_password'", "SET GLOBAL validate_password.length = 40")
		b.finally("UNINSTALL COMPONENT 'file://component_validate_password'")
	}, secrets.Invalid, rotator.SetSecret, false, []string{"3 generated passwords in a row", "1819", "adapt password: in the configuration"}},

	{"wrong password", onAll, func(b *broken) { b.value = b.app.With("password", "wrong-secret").Value() },
		secrets.Denied, "", false, []string{"unable to log in with the AWSCURRENT credential", "pawl secret put"}},
	{"wrong password, with a superuser", onAll, func(b *broken) {
		b.rules.Superuser, b.value = "root", b.app.With("password", "wrong-secret").Value()
	}, secrets.Denied, "", false, []string{"unable to log in with the AWSCURRENT credential", "pawl secret put"}},
	{"no such user", onAll, func(b *broken) { b.alternate(); b.value = b.app.With("username", "nobody-there").Value() },
		secrets.Denied, "", false, []string{"unable to log in with the AWSCURRENT credential", "pawl secret put"}},
	{"expired", onPostgres, func(b *broken) { b.sql("ALTER ROLE " + b.account() + " VALID UNTIL '2001-01-01'") },
		secrets.Denied, "", false, []string{"unable to log in", "expired", "VALID UNTIL"}},
	{"expired", onMySQLs, func(b *broken) { b.sql("ALTER USER " + b.account() + " PASSWORD EXPIRE") },
		secrets.Denied, "", false, []string{"expired", "by hand"}},
	{"locked", onPostgres, func(b *broken) { b.sql("ALTER ROLE " + b.account() + " NOLOGIN") },
		secrets.Denied, "", false, []string{"not permitted to log in", "ALTER ROLE"}},
	{"locked", onMySQLs, func(b *broken) { b.sql("ALTER USER " + b.account() + " ACCOUNT LOCK") },
		secrets.Denied, "", false, []string{"locked", "ACCOUNT UNLOCK"}},

	{"a replica", onPostgres, func(b *broken) {
		s := servertest.Shared(b.t, servers.Postgres15, servers.Options{ReplicaOf: b.db.Server})
		replica := &workload.Database{Server: s, Name: b.db.Name}
		until(b.t, "the replica knows the user", func() bool { return replica.Login(b.t.Context(), b.app) == nil })
		b.app, b.at = b.app.With("port", fmt.Sprint(s.Port)), server(replica)
	}, secrets.Invalid, "", false, []string{"replica", "admin_host"}},
	{"a replica, through a superuser", onPostgres, func(b *broken) {
		s := servertest.Shared(b.t, servers.Postgres15, servers.Options{ReplicaOf: b.db.Server})
		replica := &workload.Database{Server: s, Name: b.db.Name}
		until(b.t, "the replica knows the user", func() bool { return replica.Login(b.t.Context(), b.app) == nil })
		b.app, b.at = b.app.With("port", fmt.Sprint(s.Port)), server(replica)
		b.super = b.super.With("port", fmt.Sprint(s.Port))
		b.alternate()
	}, secrets.Invalid, "", false, []string{"replica", "admin_host"}},
	{"read-only", onMySQLs, func(b *broken) {
		b.rules.Superuser = "root"
		b.sql("SET GLOBAL read_only = 1")
		b.finally("SET GLOBAL read_only = 0")
	}, secrets.Invalid, "", false, []string{"read-only", "admin_host"}},
	{"read-only, by itself", onMySQLs, func(b *broken) {
		b.sql("SET GLOBAL read_only = 1")
		b.finally("SET GLOBAL read_only = 0")
	}, secrets.Invalid, "", false, []string{"read-only", "admin_host"}},

	{"no such database", onPostgres, func(b *broken) { b.value = b.app.With("dbname", "nothing_here").Value() },
		secrets.Invalid, "", false, []string{`database "nothing_here" does not exist`, `correct "dbname"`}},
	{"no such database", onMySQLs, func(b *broken) { b.value = b.app.With("dbname", "nothing_here").Value() },
		secrets.Invalid, "", false, []string{"nothing_here", `correct "dbname"`}},
	{"nobody listens", onAll, func(b *broken) {
		port := nowhere(b.t)
		b.value, b.at = b.app.With("port", port).Value(), "127.0.0.1:"+port
	}, secrets.Transient, "", false, []string{"cannot connect", "refused", "server running"}},
	{"broken check_query", onAll, func(b *broken) { b.rules.CheckQuery = "SELEC 1" },
		secrets.Invalid, "", false, []string{"check_query"}},
	{"check_query without the right", onAll, func(b *broken) {
		b.rules.CheckQuery = "DELETE FROM items"
		if b.db.Server.Kind.IsPostgres() {
			b.rules.CheckQuery = "DELETE FROM shop.items"
		}
	}, secrets.Denied, "", false, []string{"check_query"}},

	{"TLS demanded, none offered", []servers.Kind{servers.Postgres15, servers.MariaDB}, func(b *broken) { b.rules.TLS.Mode = secrets.TLSRequire },
		secrets.Invalid, "", false, []string{"does not offer TLS", "tls.mode: disable"}},
	{"TLS demanded by the secret, none offered", []servers.Kind{servers.Postgres15, servers.MariaDB}, func(b *broken) {
		b.value = secrets.Text(strings.TrimSuffix(string(b.app.Value().Reveal()), "}") + `,"ssl":true}`)
	}, secrets.Invalid, "", false, []string{"does not offer TLS", "tls.mode: disable"}},
	{"no such ca_file", onPostgres, func(b *broken) {
		b.rules.TLS = secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: "/nowhere/ca.pem"}
	},
		secrets.Invalid, "", true, []string{"tls.ca_file", "/nowhere/ca.pem"}},
	{"another authority", onAll, func(b *broken) {
		encrypted := servertest.Shared(b.t, b.db.Server.Kind, servers.Options{TLS: true})
		other := servertest.Shared(b.t, servers.Postgres18, servers.Options{TLS: true})
		b.rules.TLS = secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: other.CAFile}
		b.app = b.app.With("port", fmt.Sprint(encrypted.Port))
		b.at = net.JoinHostPort(encrypted.Host, fmt.Sprint(encrypted.Port))
	}, secrets.Invalid, "", false, []string{"unknown authority", "tls.ca_file"}},
}

// TestBadInput: each is a clear error that names secret, step, server and
// remedy, shows no password, and has changed nothing, neither in the store nor
// at the server.
func TestBadInput(t *testing.T) {
	for _, bad := range badInputs {
		for _, kind := range bad.on {
			t.Run(bad.name+"/"+string(kind), func(t *testing.T) {
				db := common(t, kind)
				b := &broken{pawl: newPawl(t), t: t, db: db, app: newUser(t, db), super: db.Superuser(), at: server(db)}
				b.rules.Strategy = secrets.SingleUser
				bad.spoil(b)
				if b.value.IsZero() {
					b.value = b.app.Value()
				}
				b.create("root", b.super.Value())
				b.create("app", b.value)
				b.declare("app", b.rules)
				if b.then != nil {
					b.then()
				}
				users, labels, versions := accounts(t, db), b.stages("app"), b.versions("app")

				_, seen, err := b.run("app", rotator.Options{})
				wantError(t, err, bad.kind, bad.say...)
				if err == nil {
					return
				}
				step := bad.step
				if step == "" {
					step = rotator.CreateSecret
				}
				where := fmt.Sprintf("secret %q: %s: ", "app", step)
				if !strings.HasPrefix(err.Error(), where) || strings.Count(err.Error(), `secret "app"`) != 1 {
					t.Errorf("want %q once, in front of: %v", where, err)
				}
				if n := strings.Count(err.Error(), b.at); !bad.blind && n == 0 {
					t.Errorf("want the server %s in: %v", b.at, err)
				}
				for _, c := range []secrets.Credentials{b.app, b.super} {
					if strings.Contains(seen, c.Password().Reveal()) {
						t.Error("a password was shown")
					}
				}
				for _, pw := range []string{"wrong-secret", "pending-secret", "another-password"} {
					if strings.Contains(seen, pw) {
						t.Errorf("%s was shown", pw)
					}
				}

				if d := moved(labels, b.stages("app")); d != "" {
					t.Errorf("labels moved (-before +after):\n%s", d)
				}
				if n := b.versions("app"); step == rotator.CreateSecret && n != versions {
					t.Errorf("%d versions, were %d", n, versions)
				}
				if d := differing(users, accounts(t, db)); len(d) > 0 && !slices.Equal(d, []string{b.left}) {
					t.Errorf("changed at the server: %q", d)
				}
			})
		}
	}
}

// TestAdoptClone: what the operator allows to be taken over is.
func TestAdoptClone(t *testing.T) {
	for _, kind := range both {
		t.Run(string(kind), func(t *testing.T) {
			db := common(t, kind)
			app := newUser(t, db)
			clone := user(t, db, app.Username()+"_clone")
			p := newPawl(t)
			p.create("root", db.Superuser().Value())
			p.create("app", app.Value())
			p.declare("app", secrets.RotationRules{Strategy: secrets.AlternatingUsers, Superuser: "root", AdoptClone: true})
			for _, want := range []string{clone.Username(), app.Username(), clone.Username()} {
				p.rotate("app")
				cur := p.current("app")
				if cur.Username() != want {
					t.Fatalf("the user is %s, want %s", cur.Username(), want)
				}
				mustLogin(t, db, "AWSCURRENT", cur)
			}
			mustNotLogin(t, db, "the clone's old password", clone)
		})
	}
}

// TestPasswordcheck: PostgreSQL's own policy module lets a verifier pass, so
// there is nothing to allow.
func TestPasswordcheck(t *testing.T) {
	db := database(t, servers.Postgres15, "checked", servers.Options{Args: []string{"-c", "shared_preload_libraries=passwordcheck"}})
	p := newPawl(t)
	p.create("root", db.Superuser().Value())
	p.create("app", newUser(t, db).Value())
	p.declare("app", secrets.RotationRules{Strategy: secrets.AlternatingUsers, Superuser: "root"})
	for range 2 {
		p.rotate("app")
		mustLogin(t, db, "AWSCURRENT", p.current("app"))
	}
}

// TestBadDeclarations: what is wrong with the configuration's entries is told
// before anything is written.
func TestBadDeclarations(t *testing.T) {
	app := func(rules secrets.RotationRules, line int) service.Declaration {
		rules.Strategy = secrets.SingleUser
		return service.Declaration{Name: "app", Rules: rules, Source: fmt.Sprintf("file pawl.yaml:%d", line)}
	}
	for _, tt := range []struct {
		name string
		ds   []service.Declaration
		say  []string
	}{
		{"under the minimum", []service.Declaration{app(secrets.RotationRules{Schedule: "rate(3 hours)"}, 3)}, []string{"pawl.yaml:3", "4", "minimum_interval"}},
		{"under the minimum, by the clock", []service.Declaration{app(secrets.RotationRules{Schedule: "cron(0 /2 * * ? *)"}, 3)}, []string{"pawl.yaml:3", "4", "minimum_interval"}},
		{"not a schedule", []service.Declaration{app(secrets.RotationRules{Schedule: "daily"}, 3)}, []string{"pawl.yaml:3", "rate("}},
		{"a window that is too long", []service.Declaration{app(secrets.RotationRules{Schedule: "rate(4 hours)", Window: "9h"}, 3)}, []string{"pawl.yaml:3", "window"}},
		{"declared twice", []service.Declaration{app(secrets.RotationRules{}, 3), app(secrets.RotationRules{}, 9)}, []string{"declared twice", "pawl.yaml:3", "pawl.yaml:9"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPawl(t)
			p.svc.Reconfigure(0, false, secrets.RotationRules{Strategy: secrets.SingleUser})
			p.create("app", secrets.Text(`{"engine":"postgres"}`))
			before, err := p.svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "app"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.svc.Declare(t.Context(), tt.ds)
			wantError(t, err, secrets.Invalid, append(tt.say, `secret "app"`)...)
			after, err := p.svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "app"})
			if err != nil || after.RotationEnabled != nil || !after.LastChangedDate.Equal(before.LastChangedDate) {
				t.Errorf("something was written: %+v, %v", after, err)
			}
		})
	}
}
