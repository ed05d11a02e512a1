package scheduler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/strategies"
)

// What a session may still do ends before anybody else may have the claim.
func TestGuard(t *testing.T) {
	if strategies.Guard != service.LeaseGuard || 2*strategies.Guard >= service.LeaseTime {
		t.Errorf("the guard is %v, the lease's %v of %v", strategies.Guard, service.LeaseGuard, service.LeaseTime)
	}
}

// gate is a Plan that may refuse claims, or give others.
type gate struct {
	Plan
	refuse func() error
	give   func(Claim) Claim
}

func (g gate) Claim(ctx context.Context, id string) (Claim, error) {
	if g.refuse != nil {
		if err := g.refuse(); err != nil {
			return nil, err
		}
	}
	c, err := g.Plan.Claim(ctx, id)
	if err == nil && g.give != nil {
		c = g.give(c)
	}
	return c, err
}

func heldBy(by string, epoch, beat int64, left time.Duration) error {
	return secrets.Errorf(secrets.Conflict, "%w", &service.Held{By: by, Epoch: epoch, Beat: beat, Left: left})
}

// TestWaitingForASilentHolder: what UntilDone does about a claim of a process that
// may be dead. Each try is a second after the one before.
func TestWaitingForASilentHolder(t *testing.T) {
	silent := func(tries int) []error {
		var out []error
		for i := range tries {
			out = append(out, heldBy("host-b (pid 71)", 4, 9, service.LeaseTime-time.Duration(i)*time.Second))
		}
		return out
	}
	tests := []struct {
		name    string
		answers []error // nil = the claim is given; none left = as the last one
		waits   int     // that the person was told of
		within  time.Duration
		err     string // "" = it has rotated
	}{
		{"dead", append(silent(15), nil), 15, 15 * time.Second, ""},
		{"dead for long", append([]error{heldBy("host-b (pid 71)", 4, 9, 200*time.Millisecond)}, nil), 1, 300 * time.Millisecond, ""},
		{"alive", append(silent(3), heldBy("host-b (pid 71)", 4, 10, service.LeaseTime)), 3, 3 * time.Second, "host-b (pid 71)"},
		{"another was faster", append(silent(3), heldBy("host-c (pid 7)", 5, 9, service.LeaseTime)), 3, 3 * time.Second, "host-c (pid 7)"},
		{"nobody knows who is in the way", []error{secrets.Errorf(secrets.Conflict, "another process is rotating it")}, 0, 0, "another process"},
		{"a claim that does not end", silent(1), 17, 17 * time.Second, "host-b (pid 71)"},
		{"the store is away for a moment", []error{silent(1)[0], secrets.Errorf(secrets.Transient, "no connection"), nil}, 1, 3 * time.Second, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := one(t)
			began, tries := w.clock.Now(), 0
			w.runner.Plan = gate{Plan: w.runner.Plan, refuse: func() error {
				tries++
				return tt.answers[min(tries, len(tt.answers))-1]
			}}
			var told []*service.Held
			w.runner.Waiting = func(id string, h *service.Held) { told = append(told, h) }
			ended := make(chan error, 1)
			go func() {
				_, err := w.runner.UntilDone(t.Context(), "app", rotator.Options{})
				ended <- err
			}()
			err := w.until(ended, 50*time.Millisecond)
			if (tt.err == "") != (err == nil) || err != nil && (secrets.KindOf(err) != secrets.Conflict || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if len(told) != tt.waits {
				t.Errorf("told %d times to wait, want %d", len(told), tt.waits)
			}
			if took := w.clock.Since(began); took > tt.within {
				t.Errorf("it took %v, want %v at most", took, tt.within)
			}
		})
	}
}

// until advances the clock whenever somebody waits for it, until there is an end.
func (w *world) until(ended <-chan error, by time.Duration) error {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	for {
		asleep := make(chan error, 1)
		go func() { asleep <- w.clock.BlockUntilContext(ctx, 1) }()
		select {
		case err := <-ended:
			return err
		case <-asleep:
			w.clock.Advance(by)
		}
	}
}

func TestStoppedWhileWaiting(t *testing.T) {
	w := one(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.runner.Plan = gate{Plan: w.runner.Plan, refuse: func() error { return heldBy("host-b", 1, 1, service.LeaseTime) }}
	w.runner.Waiting = func(string, *service.Held) { cancel() }
	_, err := w.runner.UntilDone(ctx, "app", rotator.Options{})
	if secrets.KindOf(err) != secrets.Conflict || !strings.Contains(err.Error(), "host-b") {
		t.Errorf("error %v", err)
	}
}

// leased is a claim whose end is somebody's to say.
type leased struct {
	Claim
	lost  error // nil = it is held
	saves error
}

func (l leased) Context(ctx context.Context) context.Context {
	if l.lost == nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(l.lost)
	return ctx
}

func (l leased) Confirm(context.Context) error { return l.lost }

func (l leased) Save(ctx context.Context, a secrets.Attempt) error {
	if l.saves != nil {
		return l.saves
	}
	return l.Claim.Save(ctx, a)
}

// TestLostClaim: a run whose claim ended under it is nobody's failure: no record,
// no event, no word about its target, and it is looked at again in a second.
func TestLostClaim(t *testing.T) {
	gone := secrets.Errorf(secrets.Conflict, "the claim ended")
	for name, give := range map[string]func(Claim) Claim{
		"found out at the server": func(c Claim) Claim { return leased{Claim: c, lost: gone} },
		"found out at the record": func(c Claim) Claim { return leased{Claim: c, saves: gone} },
	} {
		t.Run(name, func(t *testing.T) {
			w := one(t)
			var heard []events.Name
			w.runner.Listener = hearer(func(e events.Event) { heard = append(heard, e.Name) })
			if name == "found out at the record" {
				w.servers.mu.Lock()
				w.servers.passwords["app"] = "of another rotator"
				w.servers.mu.Unlock()
			}
			plan := w.runner.Plan
			w.runner.Plan = gate{Plan: plan, give: give}
			w.open()
			w.at(5)
			w.scan()
			w.settle()
			s := w.state("app")
			if s.Rotation.Attempt.Tries != 0 || !s.Rotation.LastRotated.IsZero() {
				t.Errorf("%+v", s.Rotation)
			}
			for _, name := range heard {
				if name == events.RotationFailed || name == events.RotationSucceeded {
					t.Errorf("told: %v", heard)
				}
			}
			if b := w.sched.pool.targets["db"]; b != nil && !b.breaker.idle() {
				t.Error("its target is to blame")
			}
			if name == "found out at the record" {
				return
			}
			w.idle() // nobody is told of it as a failure
			if !strings.Contains(w.log.String(), "the claim was lost") || strings.Contains(w.log.String(), "rotation failed") {
				t.Error(w.log)
			}
			w.runner.Plan = plan
			w.clock.Advance(scanEvery)
			w.scan()
			w.succeed(1)
			w.serves("app")
		})
	}
}

type hearer func(events.Event)

func (h hearer) Hear(_ context.Context, e events.Event) { h(e) }

// listed is a Plan of many secrets that are due, at a target for each.
type listed struct {
	Plan
	many   int
	target func(i int) string
	asked  []int // the sizes of the pages
}

func (l *listed) Due(_ context.Context, now time.Time, after service.DueAfter, n int) ([]service.Due, error) {
	var out []service.Due
	from := 0
	if !after.At.IsZero() {
		from = int(after.At.Sub(midnight)/time.Millisecond) + 1
	}
	for i := from; i < l.many && len(out) < n; i++ {
		arn := secrets.ARN{Name: fmt.Sprintf("s%06d", i)}
		at := midnight.Add(time.Duration(i) * time.Millisecond)
		out = append(out, service.Due{ARN: arn, Target: l.target(i), At: at, After: service.DueAfter{At: at, ARN: arn},
			Window: secrets.Window{Open: midnight, Close: midnight.Add(24 * time.Hour)}})
	}
	l.asked = append(l.asked, len(out))
	return out, nil
}

func (l *listed) Claim(context.Context, string) (Claim, error) {
	return nil, heldBy("another", 1, 1, time.Second)
}

// TestScanReadsOn: more than one scan reads stand in front of what can run, all at
// a target that does not answer. No request is for more than a page, no scan for
// more than its bound, and the next one goes on where the last one stopped.
func TestScanReadsOn(t *testing.T) {
	w := newWorld(t, 4, 4)
	l := &listed{Plan: w.runner.Plan, many: deepest + 700, target: func(i int) string {
		if i == deepest+650 {
			return "well:5432"
		}
		return "dead:5432"
	}}
	w.runner.Plan = l
	w.open()
	w.at(1)
	w.sched.pool.target("dead:5432").breaker = breaker{opened: 1, until: w.clock.Now().Add(time.Hour)}
	scan := func() (total int) {
		l.asked = nil
		w.scan()
		for _, n := range l.asked {
			if total += n; n > page {
				t.Errorf("%d were asked for at once", n)
			}
		}
		return total
	}
	found := func() bool {
		w.settle()
		_, ok := w.sched.pool.resting[secrets.ARN{Name: fmt.Sprintf("s%06d", deepest+650)}]
		return ok
	}
	if n := scan(); n != deepest || found() {
		t.Errorf("the first scan read %d", n)
	}
	if n := scan(); n != 700 || !found() {
		t.Errorf("the second scan read %d", n)
	}
	if n := scan(); n != deepest {
		t.Errorf("the third scan read %d", n)
	}
}

// TestInCompany: alone, a page is taken exactly in its order. With others at work
// each takes it in an order of its own, for as long as they are met.
func TestInCompany(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.runner.Random = func() float64 { return 0 }
	l := &listed{Plan: w.runner.Plan, many: 4, target: func(i int) string { return fmt.Sprintf("h%d:5432", i) }}
	thaw := make(chan struct{})
	entered := make(chan string, 10)
	w.runner.Plan = claims{l, func(id string) error {
		entered <- id
		<-thaw
		return heldBy("another", 1, 1, time.Second)
	}}
	order := func() (out string) {
		w.scan()
		for range 4 {
			out += receive(t, entered)[len("arn:aws:secretsmanager::::"):]
			thaw <- struct{}{}
		}
		w.settle()
		return out
	}
	w.open()
	w.at(1)
	arns := func(digits string) (out string) {
		for _, d := range digits {
			arn := secrets.ARN{Name: "s00000" + string(d)}
			out += arn.String()[len("arn:aws:secretsmanager::::"):]
		}
		return out
	}
	if got := order(); got != arns("0123") {
		t.Errorf("alone: %s", got)
	}
	w.clock.Advance(scanEvery) // no longer do they rest whose claim may end
	if got := order(); got != arns("1230") {
		t.Errorf("in company: %s", got)
	}
	w.clock.Advance(companyLasts)
	if got := order(); got != arns("0123") {
		t.Errorf("alone again: %s", got)
	}
}

// claims is a Plan that refuses each claim in a way of its own.
type claims struct {
	Plan
	claim func(id string) error
}

func (c claims) Claim(_ context.Context, id string) (Claim, error) { return nil, c.claim(id) }
