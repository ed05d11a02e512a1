package integration_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// TestConnectionCut: the connection breaks at the statement that sets the
// password, once after the server ran it and once before it came there. Nobody
// can tell the two apart; the next run finishes with the same value.
func TestConnectionCut(t *testing.T) {
	for _, kind := range onAll {
		for w, way := range ways {
			for name, cut := range map[string]cut{"answer lost": cutAfter, "statement lost": cutBefore} {
				t.Run(fmt.Sprintf("%s/%s/%s", kind, way.name, name), func(t *testing.T) {
					c := newCrash(t, kind, w, 2)
					p := newProxy(t, c.db.Server)
					c.rules.AdminHost = p.addr()
					c.redeclare()
					p.cutNext(cut)
					c.mustFail("app", rotator.Options{}, secrets.Unknown, "setSecret", p.addr(), "password of")
					made, err := c.get(t.Context(), "app", secrets.Pending)
					if err != nil {
						t.Fatal(err)
					}
					if err := c.db.Login(t.Context(), made); (err == nil) != (cut == cutAfter) {
						t.Errorf("the proxy did not do its work: %v", err)
					}
					c.resumes()
				})
			}
		}
	}
}

// outcome is what became of a run.
type outcome struct {
	err  error
	took time.Duration
}

// atOnce runs a rotation of each, side by side: these wait more than they work.
func atOnce(cs []*crash, options func(i int) rotator.Options) []outcome {
	out := make([]outcome, len(cs))
	var wg sync.WaitGroup
	for i, c := range cs {
		o := options(i)
		wg.Go(func() {
			start := time.Now()
			_, _, err := c.run("app", o)
			out[i] = outcome{err, time.Since(start)}
		})
	}
	wg.Wait()
	return out
}

func plain(int) rotator.Options { return rotator.Options{} }

// resumes wants the next run to promote the value that was made, and no other.
func (c *crash) resumes() {
	c.t.Helper()
	made, err := c.get(c.t.Context(), "app", secrets.Pending)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mustEnd("app", rotator.Options{}, rotator.Resumed)
	if !c.current("app").Value().Equal(made.Value()) {
		c.t.Error("another value was promoted")
	}
	mustLogin(c.t, c.db, "AWSCURRENT", made)
	c.atRest("app")
}

// TestBlockedByALock: another session holds the lock that the change needs. The
// session's own guard at the server ends the statement, so that none is left
// behind that could come through later.
func TestBlockedByALock(t *testing.T) {
	var cs []*crash
	var locks []session
	for _, kind := range onAll {
		c := newCrash(t, kind, 1, 0)
		cs, locks = append(cs, c), append(locks, admin(t, c.db))
	}
	t.Parallel() // with TestFrozenServer: after all others, whom the locks would stop
	for i, c := range cs {
		if c.db.Server.Kind.IsPostgres() {
			locks[i].exec(t, "BEGIN; ALTER ROLE "+c.first.Username()+" CONNECTION LIMIT 7")
		} else {
			locks[i].exec(t, "FLUSH TABLES WITH READ LOCK")
		}
	}
	got := atOnce(cs, plain)
	for i, c := range cs {
		if c.db.Server.Kind.IsPostgres() {
			locks[i].exec(t, "ROLLBACK")
		} else {
			locks[i].exec(t, "UNLOCK TABLES")
		}
	}
	for i, c := range cs {
		wantError(t, got[i].err, secrets.Transient, "setSecret", server(c.db), c.first.Username())
		if took := got[i].took; took < 5*time.Second || took > 25*time.Second {
			t.Errorf("%s: the guard took %s", c.db.Server.Kind, took)
		}
		mustLogin(t, c.db, "AWSCURRENT", c.first)
		c.resumes()
	}
}

// TestFrozenServer: a server that answers nobody delays a rotation by its step's
// time-out and no more. Frozen before a rotation nothing is changed; frozen in
// the middle the next run finishes it.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	var cs []*crash
	for _, kind := range onAll {
		s := servertest.Start(t, kind, servers.Options{})
		c := newCrashOn(t, prepared(t, s, "frozen"), 1, 1)
		c.runner.Rotator.StepTimeout = 2 * time.Second
		cs = append(cs, c)
	}
	all := func(do func(*servers.Server) error) {
		t.Helper()
		for _, c := range cs {
			if err := do(c.db.Server); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(got []outcome, step string, kinds ...secrets.Kind) {
		t.Helper()
		for i, c := range cs {
			if !slices.Contains(kinds, secrets.KindOf(got[i].err)) {
				t.Errorf("%s: kind %s: %v", c.db.Server.Kind, secrets.KindOf(got[i].err), got[i].err)
			}
			wantError(t, got[i].err, secrets.KindOf(got[i].err), step, server(c.db))
			if got[i].took > 12*time.Second {
				t.Errorf("%s held the rotation for %s", c.db.Server.Kind, got[i].took)
			}
		}
	}

	labels := make([]map[string][]string, len(cs))
	for i, c := range cs {
		labels[i] = c.stages("app")
	}
	all((*servers.Server).Pause)
	check(atOnce(cs, plain), rotator.CreateSecret, secrets.Transient)
	for i, c := range cs {
		if d := moved(labels[i], c.stages("app")); d != "" {
			t.Errorf("labels moved:\n%s", d)
		}
	}
	all((*servers.Server).Resume)
	for _, c := range cs {
		c.mustEnd("app", rotator.Options{}, rotator.Rotated)
		mustLogin(t, c.db, "AWSCURRENT", c.current("app"))
	}

	// MySQL's session asks a question before it sends the change: there it is
	// known that nothing was sent.
	check(atOnce(cs, func(i int) rotator.Options {
		return onStep(rotator.SetSecret, func() {
			if err := cs[i].db.Server.Pause(); err != nil {
				t.Error(err)
			}
		})
	}), rotator.SetSecret, secrets.Unknown, secrets.Transient)
	check(atOnce(cs, plain), rotator.SetSecret, secrets.Transient) // still frozen
	all((*servers.Server).Resume)
	for _, c := range cs {
		c.resumes()
	}
}
