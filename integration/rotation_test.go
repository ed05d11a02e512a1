package integration_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
)

// ways are the strategies, with and without a superuser.
var ways = []struct {
	name, strategy string
	superuser      bool
}{
	{"self", secrets.SingleUser, false},
	{"by_superuser", secrets.SingleUser, true},
	{"alternating", secrets.AlternatingUsers, true},
}

// TestFiftyRotations rotates the same secret 50 times (without PAWL_THOROUGH: for
// one of the servers and strategies, and 10 times for the others) while an application fetches it and logs in without a pause. Between two
// rotations the application gets through at least twice, so that each of its
// logins spans one rotation at most: what alternating users promise.
func TestFiftyRotations(t *testing.T) {
	for k, kind := range servers.Kinds {
		for w, way := range ways {
			t.Run(fmt.Sprintf("%s/%s", kind, way.name), func(t *testing.T) {
				db := database(t, kind, "fifty_"+way.name)
				p := newPawl(t)
				p.create("root", db.Superuser().Value())
				p.create("app", user(t, db, "u50_"+way.name).Value())
				rules := secrets.RotationRules{Strategy: way.strategy}
				if way.superuser {
					rules.Superuser = "root"
				}
				p.declare("app", rules)

				app := &workload.Application{Login: db.Login, Fetch: func(ctx context.Context) (secrets.Credentials, error) { return p.get(ctx, "app", "") }}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan workload.Stats, 1)
				go func() { ended <- app.Run(ctx) }()

				seen := map[string]bool{}
				rotations := 10
				if chosen(k*len(ways)+w, len(servers.Kinds)*len(ways)) {
					rotations = 50
				}
				for n := range rotations {
					awaitLogins(t, app, 2)
					p.rotate("app")
					c := p.current("app")
					if pw := c.Password().Reveal(); seen[pw] {
						t.Fatalf("rotation %d: a password came back", n)
					} else {
						seen[pw] = true
					}
					if got, want := c.Username(), "u50_"+way.name; way.strategy == secrets.AlternatingUsers && n%2 == 0 {
						if got != want+"_clone" {
							t.Fatalf("rotation %d: user %s", n, got)
						}
					} else if got != want {
						t.Fatalf("rotation %d: user %s", n, got)
					}
				}
				awaitLogins(t, app, 2)
				stop()
				st := <-ended
				t.Logf("%d logins, %d refusals", st.Logins, st.Refusals)
				if st.Failures > 0 {
					t.Errorf("%d failures, the last: %v", st.Failures, st.Last)
				}
				if way.strategy == secrets.AlternatingUsers && st.Refusals > 0 {
					t.Errorf("%d refusals", st.Refusals)
				}
				prev, err := p.get(t.Context(), "app", secrets.Previous)
				if err != nil {
					t.Fatal(err)
				}
				err = db.Login(t.Context(), prev)
				if works := err == nil; works != (way.strategy == secrets.AlternatingUsers) {
					t.Errorf("the previous password: %v", err)
				}
			})
		}
	}
}

// awaitLogins waits until the application got through n more times.
func awaitLogins(t testing.TB, app *workload.Application, n int) {
	t.Helper()
	want := app.Stats().Logins + n
	deadline := time.Now().Add(60 * time.Second)
	for app.Stats().Logins < want {
		if time.Now().After(deadline) {
			t.Fatalf("the application does not get through: %+v", app.Stats())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestCloneFidelity: what one user of the pair creates, the other can use, and
// what is granted or revoked between rotations reaches both.
func TestCloneFidelity(t *testing.T) {
	for _, kind := range servers.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			db := database(t, kind, "fidelity")
			p := newPawl(t)
			p.create("root", db.Superuser().Value())
			p.create("app", user(t, db, "fid").Value())
			p.declare("app", secrets.RotationRules{Strategy: secrets.AlternatingUsers, Superuser: "root"})
			ctx := t.Context()
			must := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			grantee, table := `"fid"`, "shop."
			if !kind.IsPostgres() {
				grantee, table = "'fid'@'%'", "fidelity."
				must("grant create", db.Exec(ctx, "GRANT CREATE, INSERT, SELECT ON fidelity.* TO "+grantee))
			}

			p.rotate("app") // the clone's turn
			clone := p.current("app")
			must("the clone creates", db.ExecAs(ctx, clone, "CREATE TABLE "+table+"by_clone (id int)", "INSERT INTO "+table+"by_clone VALUES (1)"))
			must("admin makes a table", db.Exec(ctx, "CREATE TABLE "+table+"later (id int)", "GRANT SELECT ON "+table+"later TO "+grantee))

			p.rotate("app") // the original's turn
			original := p.current("app")
			must("the original uses the clone's", db.ExecAs(ctx, original, "INSERT INTO "+table+"by_clone VALUES (2)", "SELECT * FROM "+table+"later"))
			if kind.IsPostgres() {
				must("the original alters the clone's", db.ExecAs(ctx, original, "ALTER TABLE shop.by_clone ADD COLUMN x int"))
			}
			must("grant while the original is current", db.Exec(ctx, "GRANT INSERT ON "+table+"later TO "+grantee))

			p.rotate("app")
			clone = p.current("app")
			must("the clone has the new grants", db.ExecAs(ctx, clone, "SELECT * FROM "+table+"later", "INSERT INTO "+table+"later VALUES (1)"))
			// On MySQL the grant on the whole database would hide the revocation.
			if kind.IsPostgres() {
				must("revoke", db.Exec(ctx, "REVOKE INSERT ON shop.later FROM fid"))
			} else {
				must("revoke", db.Exec(ctx, "REVOKE INSERT ON fidelity.* FROM "+grantee, "REVOKE INSERT ON fidelity.later FROM "+grantee))
			}
			p.rotate("app")
			p.rotate("app")
			clone = p.current("app")
			if err := db.ExecAs(ctx, clone, "INSERT INTO "+table+"later VALUES (2)"); err == nil {
				t.Error("the clone kept a right that the original lost")
			}
			must("the clone still reads", db.ExecAs(ctx, clone, "SELECT * FROM "+table+"later"))
		})
	}
}

// TestNothingInTheServersLog searches what the server logs of every statement
// for the passwords of ten rotations by each strategy.
func TestNothingInTheServersLog(t *testing.T) {
	for _, kind := range servers.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			args := []string{"--general-log=1"}
			if kind.IsPostgres() {
				args = []string{"-c", "log_statement=all", "-c", "log_min_duration_statement=0", "-c", "log_min_error_statement=debug5"}
			}
			db := database(t, kind, "logged", servers.Options{Args: args})
			var passwords []string
			for _, way := range ways {
				p := newPawl(t)
				p.create("root", db.Superuser().Value())
				p.create("app", user(t, db, "l_"+way.name).Value())
				rules := secrets.RotationRules{Strategy: way.strategy}
				if way.superuser {
					rules.Superuser = "root"
				}
				p.declare("app", rules)
				for range 10 {
					p.rotate("app")
					passwords = append(passwords, p.current("app").Password().Reveal())
				}
			}
			log := db.Server.Log
			if !kind.IsPostgres() {
				log = db.Server.GeneralLog
			}
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), "l_alternating") {
				t.Fatalf("%s does not look like a log of statements", log)
			}
			for _, pw := range passwords {
				if strings.Contains(string(data), pw) {
					t.Fatal("a password stands in the server's log")
				}
			}
		})
	}
}
