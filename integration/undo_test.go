package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// probed makes a table that AWSCURRENT may read and has the check query read it;
// spoil is the statement after which that fails.
func (c *crash) probed(spoil string) (o rotator.Options) {
	c.t.Helper()
	table, grantee := c.db.Name+".probe_"+c.first.Username(), "'"+c.first.Username()+"'@'%'"
	if c.db.Server.Kind.IsPostgres() {
		table, grantee = "shop.probe_"+c.first.Username(), `"`+c.first.Username()+`"`
	}
	sql := func(statements ...string) {
		if err := c.db.Exec(c.t.Context(), statements...); err != nil {
			c.t.Fatal(err)
		}
	}
	sql("CREATE TABLE "+table+" (id int)", "GRANT SELECT ON "+table+" TO "+grantee)
	c.rules.CheckQuery = "SELECT id FROM " + table
	c.redeclare()
	return onStep(rotator.TestSecret, func() {
		sql(strings.NewReplacer("$table", table, "$user", grantee).Replace(spoil))
	})
}

// redeclare changes the rotation to c.rules.
func (c *crash) redeclare() {
	c.t.Helper()
	c.declared = nil
	c.declare("app", c.rules)
}

const (
	dropIt   = "DROP TABLE $table"
	revokeIt = "REVOKE SELECT ON $table FROM $user"
)

// TestUndo: a new password that fails its test for good is taken back. The
// error says why, applications never notice, and the next rotation is a new one.
func TestUndo(t *testing.T) {
	for _, kind := range onAll {
		for w, way := range ways {
			for _, tt := range []struct {
				name  string
				ran   int // rotations before
				spoil string
				kind  secrets.Kind
			}{
				{"the table is gone", 2, dropIt, secrets.Invalid},
				{"the table is gone, the first time", 0, dropIt, secrets.Invalid},
				{"the right is gone", 2, revokeIt, secrets.Denied},
			} {
				if tt.spoil == revokeIt && way.strategy == secrets.AlternatingUsers && !kind.IsPostgres() {
					continue // there the clone keeps a right until it is synchronized
				}
				t.Run(fmt.Sprintf("%s/%s/%s", kind, way.name, tt.name), func(t *testing.T) {
					c := newCrash(t, kind, w, tt.ran)
					previous, noPrevious := c.get(t.Context(), "app", secrets.Previous)
					current := c.holder("app", secrets.Current)
					o := c.probed(tt.spoil)
					_, seen, err := c.run("app", o)
					wantError(t, err, tt.kind, "testSecret", "check", server(c.db), `secret "app"`)
					if !strings.Contains(seen, "putting the old one back") {
						t.Errorf("nobody was told of the undo: %s", seen)
					}
					if c.holder("app", secrets.Current) != current || c.holder("app", secrets.Intent) != current || c.holder("app", secrets.Pending) != "" {
						t.Errorf("AWSCURRENT and PAWLINTENT should be on %s alone: %v", current, c.stages("app"))
					}
					mustLogin(t, c.db, "AWSCURRENT", c.first)
					if c.alternates() && noPrevious == nil {
						mustLogin(t, c.db, "AWSPREVIOUS, the other user,", previous)
					}

					c.rules.CheckQuery = ""
					c.redeclare()
					c.mustEnd("app", rotator.Options{}, rotator.Rotated)
					mustLogin(t, c.db, "AWSCURRENT", c.current("app"))
				})
			}
		}
	}
}

// TestNoWayBack: where the server's history rules refuse the old password, the
// new one is promoted: it is the one that the server knows.
func TestNoWayBack(t *testing.T) {
	c := newCrash(t, servers.MySQL, 0, 2)
	if err := c.db.Exec(t.Context(), "ALTER USER '"+c.first.Username()+"' PASSWORD HISTORY 5"); err != nil {
		t.Fatal(err)
	}
	c.rotate("app") // the history begins
	c.first = c.current("app")
	res, seen, err := c.run("app", c.probed(dropIt))
	if err != nil || res.Outcome != rotator.Rotated {
		t.Fatalf("%q, %v", res.Outcome, err)
	}
	for _, want := range []string{"can't be put back", "3638", "promoting the new one"} {
		if !strings.Contains(seen, want) {
			t.Errorf("want %q in: %s", want, seen)
		}
	}
	mustLogin(t, c.db, "AWSCURRENT", c.current("app"))
	mustNotLogin(t, c.db, "the old password", c.first)
	c.atRest("app")
}

// TestCheckQueryBeforeSet: a query that fails with AWSCURRENT already never
// costs an undo.
func TestCheckQueryBeforeSet(t *testing.T) {
	for _, kind := range both {
		for w, way := range ways {
			t.Run(fmt.Sprintf("%s/%s", kind, way.name), func(t *testing.T) {
				c := newCrash(t, kind, w, 2)
				c.probed(dropIt).Report(rotator.Event{Step: rotator.TestSecret})
				users, labels := accounts(t, c.db), c.stages("app")
				c.mustFail("app", rotator.Options{}, secrets.Invalid, "createSecret", "check")
				if d := moved(labels, c.stages("app")) + strings.Join(differing(users, accounts(t, c.db)), " "); d != "" {
					t.Errorf("changed: %s", d)
				}
			})
		}
	}
}
