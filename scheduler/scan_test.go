package scheduler

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

func TestScanRotatesWhatIsDue(t *testing.T) {
	w := newWorld(t, 0, 0)
	w.add(fourHours, "db", "app", "web")
	w.open()
	w.at(3.9)
	w.scan()
	w.idle() // too early
	w.at(5)
	w.scan()
	w.succeed(2)
	w.scan()
	w.idle() // not again
	w.serves("app")
	if s := w.state("app"); !s.Rotation.LastRotated.Equal(midnight.Add(5*time.Hour)) || !s.DueAt.After(midnight.Add(9*time.Hour-1)) {
		t.Errorf("%+v", s)
	}
}

func TestWorkersAreBounded(t *testing.T) {
	const workers, hosts = 5, 10
	w := newWorld(t, workers, 4)
	thaw, entered := make(chan struct{}), make(chan string, 1000)
	for _, h := range numbered("h", hosts) {
		w.servers.script(h, frozen(thaw, entered))
		w.add(fourHours, h, h+"-a", h+"-b", h+"-c")
	}
	w.open()
	w.at(5)
	w.scan()
	for range workers {
		receive(t, entered)
	}
	w.scan()
	if got := len(w.sched.pool.names()); got != workers {
		t.Errorf("%d run, want %d", got, workers)
	}
	close(thaw)
	w.succeed(3 * hosts)
	if most := w.servers.most[""]; most != workers {
		t.Errorf("at most %d at a time, want %d", most, workers)
	}
	w.idle()
}

func TestPerTargetCap(t *testing.T) {
	w := newWorld(t, 16, 3)
	thaw, entered := make(chan struct{}), make(chan string, 1000)
	w.servers.script("db", frozen(thaw, entered))
	w.add(fourHours, "db", numbered("app", 100)...)
	w.open()
	w.at(5)
	w.scan()
	for range 3 {
		receive(t, entered)
	}
	if got := len(w.sched.pool.names()); got != 3 {
		t.Errorf("%d run, want 3", got)
	}
	// More than the queue takes: the pool asks for the rest by itself.
	close(thaw)
	w.finish(100)
	if most := w.servers.most["db"]; most != 3 {
		t.Errorf("at most %d at a time, want 3", most)
	}
}

func TestFrozenTargetDelaysOnlyItsOwn(t *testing.T) {
	w := newWorld(t, 8, 4)
	thaw, entered := make(chan struct{}), make(chan string, 1000)
	w.servers.script("frozen", frozen(thaw, entered))
	w.add(fourHours, "frozen", numbered("a", 200)...)
	w.add(fourHours, "well", numbered("b", 50)...)
	w.open()
	w.at(5)
	w.scan()
	for range 4 {
		receive(t, entered)
	}
	w.succeed(50)
	if got := w.sched.pool.names(); len(got) != 4 {
		t.Errorf("running: %v", got)
	}
	w.scan()
	if got := len(w.sched.pool.names()); got != 4 || len(entered) != 0 {
		t.Errorf("%d run at the frozen target, want 4", got)
	}
	close(thaw)
	w.succeed(4)
}

func TestReconfigure(t *testing.T) {
	w := newWorld(t, 2, 1)
	thaw, entered := make(chan struct{}), make(chan string, 1000)
	w.servers.script("db", frozen(thaw, entered))
	w.add(fourHours, "db", numbered("app", 12)...)
	w.open()
	w.at(5)
	w.scan()
	receive(t, entered)
	w.sched.Reconfigure(8, 5) // starts what waits
	for range 4 {
		receive(t, entered)
	}
	w.sched.Reconfigure(1, 1)
	if got := len(w.sched.pool.names()); got != 5 {
		t.Errorf("%d run; lower limits stop nobody", got)
	}
	close(thaw)
	w.succeed(12)
	if most := w.servers.most["db"]; most != 5 {
		t.Errorf("at most %d", most)
	}
}

func TestBreakerKeepsOffADeadTarget(t *testing.T) {
	w := newWorld(t, 16, 1)
	w.servers.script("db", down)
	w.add(fourHours, "db", numbered("app", 10)...)
	w.open()
	w.at(5)
	w.scan()
	w.rotations(breakAfter)
	for range 3 {
		w.scan()
	}
	w.idle()
	untried := 0
	for _, n := range w.names {
		s := w.state(n)
		if s.Rotation.Attempt.Tries == 0 {
			untried++
			if s.DueAt.After(w.clock.Now()) {
				t.Errorf("%s is not due any more", n)
			}
		}
	}
	if untried != 10-breakAfter {
		t.Errorf("%d untried", untried)
	}
	// Half open: one probe, however many are due.
	cool := coolDown.Delay(0, 0.5)
	w.clock.Advance(cool - 1)
	w.scan()
	w.idle()
	w.clock.Advance(1)
	w.scan()
	w.rotations(1)
	w.scan()
	w.idle()
	if n := w.servers.contacts["db"]; n != breakAfter+1 {
		t.Errorf("%d contacts", n)
	}
	// It answers again: the probe closes the breaker, and asks for the rest.
	w.servers.script("db", nil)
	w.clock.Advance(coolDown.Delay(1, 0.5))
	w.scan()
	w.succeed(1)
	receive(t, w.sched.wake)
	w.scan()
	w.succeed(9)
	if len(w.sched.pool.targets) != 0 {
		t.Error("the target is still remembered")
	}
}

func TestDeadTargetInFrontOfAHealthyOne(t *testing.T) {
	const many = 10_000
	w := newWorld(t, 16, 4)
	w.servers.script("dead", down)
	w.add(fourHours, "dead", numbered("a", many)...)
	w.at(1)
	w.add(fourHours, "well", "b") // due after all the others
	w.open()
	w.at(6)
	w.scan()
	for w.rotations(1)[0].Secret.Name != "b" { // it needs no second scan
	}
	w.settle()
	if n := len(w.sched.pool.queue); n != 0 {
		t.Errorf("%d secrets of the dead target wait in the queue", n)
	}
	// Hours later they still stand in front. Once it is known how many there
	// are, they are read once.
	w.add(fourHours, "well", "c") // due by 11:00
	w.at(11)
	before := w.store.reads
	w.scan()
	w.settle()
	w.serves("c")
	if w.servers.sets["b"] != 2 || w.servers.sets["c"] != 1 {
		t.Error("the healthy ones were not served")
	}
	if got := w.store.reads - before; got != many+2 {
		t.Errorf("read %d secrets", got)
	}
}

func TestTenThousandDue(t *testing.T) {
	const many, hosts = 10_000, 100
	w := newWorld(t, 16, 4)
	names := numbered("h", hosts)
	secretsOf := func(h string) []string { return numbered(h+"-", many/hosts) }
	var all []string
	for _, h := range names {
		all = append(all, secretsOf(h)...)
	}
	w.declare(fourHours, all...)
	for _, h := range names {
		w.create(h, secretsOf(h)...)
	}
	w.open()
	w.at(5)
	w.scan()
	w.finish(many) // no trigger: the pool asks when it runs dry
	if w.servers.most[""] > 16 {
		t.Errorf("%d at a time", w.servers.most[""])
	}
	for user, n := range w.servers.sets {
		if n != 1 {
			t.Errorf("%s was set %d times", user, n)
		}
	}
	for _, h := range names {
		if w.servers.most[h] > 4 {
			t.Errorf("%d at a time at %s", w.servers.most[h], h)
		}
	}
	w.scan()
	w.idle()
}

func TestMissedWindowIsMadeUpInItsHours(t *testing.T) {
	w := newWorld(t, 0, 0)
	rules := fourHours
	rules.Window = "1h"
	w.add(rules, "db", numbered("app", 300)...)
	w.open()
	w.at(6) // the window was 04:00-05:00
	w.scan()
	receive(t, w.sched.wake) // more than one scan writes
	w.scan()
	w.idle()
	for _, n := range w.names {
		if at := w.state(n).DueAt; at.Before(midnight.Add(8*time.Hour)) || !at.Before(midnight.Add(9*time.Hour)) {
			t.Errorf("%s is due at %v", n, at)
		}
	}
	w.at(9 - 1e-9) // the last microseconds of the window: whatever their jitter, all are due
	w.scan()
	w.finish(300)
}

func TestWindowThatClosedWhileWaitingForAWorker(t *testing.T) {
	w := newWorld(t, 1, 1)
	thaw, entered := make(chan struct{}), make(chan string, 10)
	w.servers.script("db", frozen(thaw, entered))
	w.add(fourHours, "db", "a", "b")
	w.open()
	w.at(5)
	w.scan()
	first := receive(t, entered)
	w.at(8) // the window is over
	close(thaw)
	if d := w.rotations(1)[0]; d.Err != nil || d.Secret.Name != first {
		t.Fatal(d)
	}
	w.settle()
	w.idle()
	if n := w.servers.contacts["db"]; n != 1 {
		t.Errorf("%d contacts", n)
	}
}

// before is a Plan that calls claim before each claim.
type before struct {
	Plan
	claim func(id string)
}

func (b before) Claim(ctx context.Context, id string) (Claim, error) {
	b.claim(id)
	return b.Plan.Claim(ctx, id)
}

func TestWhatChangedSinceTheScan(t *testing.T) {
	for name, change := range map[string]func(w *world) error{
		"paused": func(w *world) error { return w.svc.Pause(w.t.Context(), "app") },
		"rotated": func(w *world) error {
			_, err := (&Runner{Plan: FromService(w.svc), Rotator: w.runner.Rotator}).Once(w.t.Context(), "app", rotator.Options{})
			return err
		},
		"no longer declared": func(w *world) error { _, err := w.svc.Declare(w.t.Context(), nil); return err },
		"tried": func(w *world) error {
			c, err := w.svc.Claim(w.t.Context(), "app")
			if err == nil {
				err = c.Save(w.t.Context(), failed(secrets.Attempt{}, errBoom, w.clock.Now(), 0))
				c.Release()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := one(t)
			var contacts int
			w.runner.Plan = before{w.runner.Plan, func(string) {
				if err := change(w); err != nil {
					t.Error(err)
				}
				contacts = w.servers.get(w.servers.contacts, "db")
			}}
			w.open()
			w.at(5)
			w.scan()
			w.settle()
			w.idle()
			if n := w.servers.contacts["db"]; n != contacts {
				t.Error("it was rotated all the same")
			}
			w.free("app")
		})
	}
}

func TestPausedIsNotRun(t *testing.T) {
	w := one(t)
	if err := w.svc.Pause(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.at(5)
	w.scan()
	w.settle()
	w.idle()
	if w.servers.contacts["db"] != 0 {
		t.Error("rotated")
	}
}

func TestUnfinishedIsResumedOutsideOfItsWindow(t *testing.T) {
	w := one(t)
	w.servers.script("db", func(ctx context.Context, s, step string) error {
		if step == "set" {
			return down(ctx, s, step)
		}
		return nil
	})
	if _, err := w.runner.Once(t.Context(), "app", rotator.Options{}); err == nil {
		t.Fatal("should fail")
	}
	w.servers.script("db", nil)
	w.open()
	w.at(1) // the window opens at 04:00
	w.scan()
	if d := w.rotations(1)[0]; d.Err != nil || d.Result.Outcome != rotator.Resumed {
		t.Fatalf("%+v", d)
	}
	w.serves("app")
	w.scan()
	w.idle()
}

func TestSettlingOutsideOfTheWindowBeginsNothingNew(t *testing.T) {
	w := one(t)
	w.servers.script("db", func(ctx context.Context, s, step string) error {
		switch step {
		case "set":
			return secrets.Errorf(secrets.Unknown, "the line broke")
		case "test":
			t.Error("a rotation began")
		}
		return nil
	})
	if _, err := w.runner.Once(t.Context(), "app", rotator.Options{}); err == nil {
		t.Fatal("should fail")
	}
	if err := w.putByHand(t.Context(), "app", "check"); err != nil { // abandons it
		t.Fatal(err)
	}
	w.open()
	w.at(1)
	w.scan()
	if d := w.rotations(1)[0]; d.Err != nil || d.Result.Outcome != rotator.Settled {
		t.Fatalf("%+v", d)
	}
	w.serves("app")
	w.scan()
	w.settle()
	w.idle()
}

func TestClaimedByAnotherIsLeftAlone(t *testing.T) {
	w := one(t)
	c, err := w.svc.Claim(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	claims := make(chan string, 10)
	w.runner.Plan = before{w.runner.Plan, func(id string) { claims <- id }}
	w.open()
	w.at(5)
	w.scan()
	receive(t, claims)
	w.settle()
	w.scan()
	if len(claims) != 0 {
		t.Error("claimed again at once")
	}
	c.Release()
	w.clock.Advance(10 * time.Second)
	w.scan()
	w.succeed(1)
}

func TestUnsavedFailureIsNotHammered(t *testing.T) {
	w := one(t)
	w.servers.script("db", func(ctx context.Context, s, step string) error { return refused("db") })
	w.open()
	w.at(5)
	w.store.failWith(func(op string) error {
		if op == "update" {
			return secrets.Errorf(secrets.Transient, "the disk is full")
		}
		return nil
	})
	w.scan()
	d := w.rotations(1)[0]
	if secrets.KindOf(d.Err) != secrets.Denied || d.NextTry.Sub(w.clock.Now()) < 10*time.Minute {
		t.Fatalf("%+v", d)
	}
	for range 5 {
		w.clock.Advance(time.Minute)
		w.scan()
	}
	w.idle()
	if n := w.servers.contacts["db"]; n != 1 {
		t.Errorf("%d failed logins", n)
	}
	w.clock.Advance(10 * time.Minute)
	w.scan()
	w.rotations(1)
}

func TestStoreTroubleIsSaidOnce(t *testing.T) {
	w := one(t)
	w.open()
	w.store.failWith(func(string) error { return secrets.Errorf(secrets.Transient, "the disk sleeps") })
	for range 10 {
		w.scan()
		w.clock.Advance(time.Second)
	}
	w.clock.Advance(time.Minute)
	w.scan()
	w.store.failWith(nil)
	w.scan()
	w.scan()
	log := w.log.String()
	if strings.Count(log, "the disk sleeps") != 2 || strings.Count(log, "can be read again") != 1 {
		t.Error(log)
	}
}

func TestJudge(t *testing.T) {
	at := func(k secrets.Kind) error {
		e := secrets.Errorf(k, "x")
		e.Server = "db:5432"
		return secrets.At(secrets.Errorf(k, "more: %w", e), "app", "setSecret", "")
	}
	awsDown := secrets.Errorf(secrets.Transient, "no answer: %w", context.DeadlineExceeded)
	awsDown.Server = "secretsmanager.us-east-1.amazonaws.com"
	lambdaDown := secrets.Errorf(secrets.Transient, "can't be called")
	lambdaDown.Server = "lambda.us-east-1.amazonaws.com"
	for _, c := range []struct {
		name string
		a    attempt
		want verdict
	}{
		{"not claimed", attempt{err: at(secrets.Transient)}, silent},
		{"skipped", attempt{claimed: true, skipped: true}, silent},
		{"rotated", attempt{claimed: true, result: rotator.Result{Outcome: rotator.Rotated}}, healthy},
		{"at rest", attempt{claimed: true, result: rotator.Result{Outcome: rotator.AtRest}}, silent},
		{"transient there", attempt{claimed: true, err: at(secrets.Transient)}, sick},
		{"unknown there", attempt{claimed: true, err: at(secrets.Unknown)}, sick},
		{"refused there", attempt{claimed: true, err: at(secrets.Denied)}, healthy},
		{"invalid there", attempt{claimed: true, err: at(secrets.Invalid)}, healthy},
		{"transient in the store", attempt{claimed: true, err: secrets.Errorf(secrets.Transient, "busy")}, silent},
		{"malformed secret", attempt{claimed: true, err: secrets.Errorf(secrets.Invalid, "no host")}, silent},
		{"conflict", attempt{claimed: true, err: at(secrets.Conflict)}, silent},
		{"step timed out", attempt{claimed: true, err: secrets.Errorf(secrets.Unknown, "x: %w", context.DeadlineExceeded)}, sick},
		{"the store at AWS does not answer", attempt{claimed: true, err: secrets.At(awsDown, "app", "finishSecret", "")}, silent},
	} {
		if got := judge(c.a, "DB:5432"); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	a := attempt{claimed: true, err: secrets.At(lambdaDown, "app", "setSecret", "")}
	if got := judge(a, "arn:aws:lambda:us-east-1:123456789012:function:rotate"); got != sick {
		t.Errorf("a function that can't be called: %v", got)
	}
	if got := judge(attempt{claimed: true, err: at(secrets.Transient)}, "prod/app"); got != silent {
		t.Errorf("where the target is not known yet: %v", got)
	}
}
