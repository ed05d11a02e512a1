package integration_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// crash is a secret that was rotated before, about to be left as a rotation
// that died somewhere leaves it.
type crash struct {
	*pawl
	t     *testing.T
	db    *workload.Database
	rules secrets.RotationRules
	first secrets.Credentials // AWSCURRENT now
	next  secrets.Credentials // what the interrupted rotation made: same user, or the other
	other secrets.Credentials // another value for next's user
	want  secrets.Credentials // what AWSCURRENT must be; zero = a value nobody has seen
	id    string              // and the version it must be; "" = any
	o     rotator.Options
}

// newCrash declares a rotation and runs it n times; twice leaves the pair of
// alternating users with the original as AWSCURRENT.
func newCrash(t *testing.T, kind servers.Kind, way int, n int) *crash {
	t.Helper()
	return newCrashOn(t, common(t, kind), way, n)
}

func newCrashOn(t *testing.T, db *workload.Database, way int, n int) *crash {
	t.Helper()
	c := &crash{pawl: newPawl(t), t: t, db: db}
	c.create("root", db.Superuser().Value())
	c.create("app", newUser(t, db).Value())
	c.rules.Strategy = ways[way].strategy
	if ways[way].superuser {
		c.rules.Superuser = "root"
	}
	c.declare("app", c.rules)
	for range n {
		c.rotate("app")
	}
	c.first = c.current("app")
	c.next, c.other = c.first, c.first
	if c.rules.Strategy == secrets.AlternatingUsers {
		c.next = c.next.With("username", strategies.Toggle(c.first.Username()))
		c.other = c.next
	}
	c.next, c.other = c.next.With("password", fresh(t)), c.other.With("password", fresh(t))
	return c
}

func (c *crash) alternates() bool { return c.first.Username() != c.next.Username() }

// atServer makes the server know a credential.
func (c *crash) atServer(v secrets.Credentials) {
	c.t.Helper()
	setByHand(c.t, c.db, v.Username(), v.Password().Reveal())
}

// edited is AWSCURRENT with another note and the same password.
func (c *crash) edited() secrets.Credentials { return c.first.With("note", "edited by hand") }

// crashes are the rows of the table in docs/architecture.md, "The labels are
// the state", as a server may meet them.
var crashes = []struct {
	name  string
	ran   int    // rotations before; twice unless it matters
	ways  string // of ways, the ones that it can happen to: s(elf), b(y superuser), a(lternating)
	leave func(*crash)
	end   rotator.Outcome
}{
	{"at rest, never rotated", 0, "sba", func(*crash) {}, rotator.Rotated},
	{"at rest, rotated", 2, "sba", func(*crash) {}, rotator.Rotated},
	{"at rest, a clone's turn ended", 1, "a", func(*crash) {}, rotator.Rotated},
	{"at rest, a person has put a newer value", 2, "sba", func(c *crash) {
		byHand := c.first.With("password", fresh(c.t))
		c.atServer(byHand)
		c.put("app", byHand.Value())
		if c.holder("app", secrets.Intent) != c.holder("app", secrets.Previous) {
			c.t.Fatalf("not the row that was meant: %v", c.stages("app"))
		}
	}, rotator.Rotated},
	{"at rest, a person has put a newer value, nothing to finish", 2, "sba", func(c *crash) {
		c.o.ResumeOnly, c.want = true, c.edited()
		c.id = c.put("app", c.want.Value())
	}, rotator.AtRest},

	{"asked for, not created", 2, "sba", func(c *crash) { c.id = c.emptyPending("app") }, rotator.Rotated},
	{"asked for, not created, never rotated", 0, "sba", func(c *crash) { c.id = c.emptyPending("app") }, rotator.Rotated},

	{"created, not set", 2, "sba", func(c *crash) { c.id, c.want = c.pend("app", c.next.Value()), c.next }, rotator.Resumed},
	{"created, not set, the first time", 0, "sba", func(c *crash) { c.id, c.want = c.pend("app", c.next.Value()), c.next }, rotator.Resumed},
	{"set, not promoted", 2, "sba", func(c *crash) {
		c.id, c.want = c.pend("app", c.next.Value()), c.next
		c.atServer(c.next)
	}, rotator.Resumed},
	{"created, not set, AWSCURRENT edited", 2, "sba", func(c *crash) {
		c.pend("app", c.next.Value())
		c.stage("app", secrets.Current, c.put("app", c.edited().Value(), "EDITED"))
		c.want = c.next.With("note", "edited by hand")
	}, rotator.Resumed},
	{"set, not promoted, AWSCURRENT edited", 2, "sba", func(c *crash) {
		c.pend("app", c.next.Value())
		c.atServer(c.next)
		c.stage("app", secrets.Current, c.put("app", c.edited().Value(), "EDITED"))
		c.want = c.next.With("note", "edited by hand")
	}, rotator.Resumed},
	{"created, not set, another strategy configured since", 2, "ba", func(c *crash) {
		c.id, c.want = c.pend("app", c.next.Value()), c.next
		c.rules.Strategy = secrets.SingleUser
		if !c.alternates() {
			c.rules.Strategy = secrets.AlternatingUsers
		}
		c.redeclare()
	}, rotator.Resumed},
	{"created, the server knows only AWSPREVIOUS", 2, "sb", func(c *crash) {
		previous, err := c.get(c.t.Context(), "app", secrets.Previous)
		if err != nil {
			c.t.Fatal(err)
		}
		c.id, c.want = c.pend("app", c.next.Value()), c.next
		c.atServer(previous)
	}, rotator.Resumed},

	{"abandoned before it was set", 2, "sba", func(c *crash) {
		c.pend("app", c.next.Value())
		c.o.ResumeOnly, c.want = true, c.edited()
		c.id = c.put("app", c.want.Value())
	}, rotator.Settled},
	{"abandoned after it was set", 2, "sba", func(c *crash) {
		c.pend("app", c.next.Value())
		c.atServer(c.next)
		c.o.ResumeOnly, c.want = true, c.edited()
		c.id = c.put("app", c.want.Value())
	}, rotator.Settled},
	{"abandoned after it was set, by dropping the label", 2, "sba", func(c *crash) {
		c.pend("app", c.next.Value())
		c.atServer(c.next)
		c.stage("app", secrets.Pending, "")
		c.o.ResumeOnly, c.want = true, c.first
	}, rotator.Settled},
	{"abandoned after it was set, and due", 2, "sba", func(c *crash) {
		c.pend("app", c.next.Value())
		c.atServer(c.next)
		c.put("app", c.edited().Value())
	}, rotator.Rotated},

	{"another tool's, not set", 2, "sba", func(c *crash) { c.id, c.want = c.put("app", c.next.Value(), secrets.Pending), c.next }, rotator.Resumed},
	{"another tool's, set", 2, "sba", func(c *crash) {
		c.id, c.want = c.put("app", c.next.Value(), secrets.Pending), c.next
		c.atServer(c.next)
	}, rotator.Resumed},
	{"another tool's, and an abandoned one that was set", 2, "sba", func(c *crash) {
		c.pend("app", c.next.Value())
		c.atServer(c.next)
		c.id, c.want = c.put("app", c.other.Value(), secrets.Pending), c.other
	}, rotator.Resumed},

	{"promoted, follow-ups open", 2, "sba", func(c *crash) {
		c.id, c.want = c.pend("app", c.next.Value()), c.next
		c.atServer(c.next)
		c.stage("app", secrets.Current, c.id)
	}, rotator.Resumed},
}

// TestRecovery: wherever a rotation died, the next run ends with AWSCURRENT
// that logs in and labels at rest, and the one after that rotates.
func TestRecovery(t *testing.T) {
	for k, kind := range onAll {
		for w, way := range ways {
			for i, row := range crashes {
				// Every row by every way at one of the servers, at least.
				if !slices.Contains([]byte(row.ways), way.name[0]) || !chosen(k+w+i, len(onAll)) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", kind, way.name, row.name), func(t *testing.T) {
					c := newCrash(t, kind, w, row.ran)
					row.leave(c)
					c.mustEnd("app", c.o, row.end)
					cur := c.current("app")
					switch {
					case !c.want.IsZero() && !cur.Value().Equal(c.want.Value()):
						t.Error("AWSCURRENT is another value than the one that was begun")
					case c.want.IsZero() && (cur.Password().Equal(c.first.Password()) || cur.Password().Equal(c.next.Password())):
						t.Error("AWSCURRENT has no new password")
					case c.id != "" && c.holder("app", secrets.Current) != c.id:
						t.Errorf("AWSCURRENT is not on version %s: %v", c.id, c.stages("app"))
					}
					mustLogin(t, c.db, "AWSCURRENT", cur)
					c.atRest("app")

					c.mustEnd("app", rotator.Options{}, rotator.Rotated)
					mustLogin(t, c.db, "AWSCURRENT, one rotation later,", c.current("app"))
					c.atRest("app")
				})
			}
		}
	}
}

// TestNothingToGoOnFrom: where the server knows no credential that the secret
// ever held, nothing is touched, and a person is told.
func TestNothingToGoOnFrom(t *testing.T) {
	for _, kind := range both {
		for w, way := range ways {
			t.Run(fmt.Sprintf("%s/%s", kind, way.name), func(t *testing.T) {
				c := newCrash(t, kind, w, 2)
				c.pend("app", c.next.Value())
				unknown := c.first.With("password", fresh(t))
				c.atServer(unknown)
				labels, users := c.stages("app"), accounts(t, c.db)
				c.mustFail("app", rotator.Options{}, secrets.Denied, "unable to log in with the AWSCURRENT credential", "pawl secret put", server(c.db), "setSecret")
				if d := moved(labels, c.stages("app")); d != "" {
					t.Errorf("labels moved:\n%s", d)
				}
				if d := differing(users, accounts(t, c.db)); len(d) > 0 {
					t.Errorf("changed at the server: %q", d)
				}

				// What the error says to do is what helps.
				c.put("app", unknown.Value())
				c.mustEnd("app", rotator.Options{}, rotator.Rotated)
				mustLogin(t, c.db, "AWSCURRENT", c.current("app"))
				c.atRest("app")
			})
		}
	}
}

// TestSomebodyPuts: a value put while a rotation is between set and promotion
// is not overwritten; the next run makes the server accept it.
func TestSomebodyPuts(t *testing.T) {
	for _, kind := range onAll {
		for w, way := range ways {
			for _, step := range []string{rotator.SetSecret, rotator.TestSecret, rotator.FinishSecret} {
				t.Run(fmt.Sprintf("%s/%s/%s", kind, way.name, step), func(t *testing.T) {
					c := newCrash(t, kind, w, 2)
					c.mustFail("app", onStep(step, func() { c.id = c.put("app", c.edited().Value()) }), secrets.Conflict, "finishSecret", "labels were moved")
					if c.holder("app", secrets.Current) != c.id {
						t.Fatal("the person's value was overwritten")
					}
					c.mustEnd("app", rotator.Options{ResumeOnly: true}, rotator.Settled)
					if c.holder("app", secrets.Current) != c.id {
						t.Error("the person's value was overwritten")
					}
					mustLogin(t, c.db, "the person's value", c.edited())
					c.atRest("app")
				})
			}
		}
	}
}
