package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// leaseTime is how long a claim lasts after the store last heard of its holder.
const leaseTime = 15 * time.Second

// landlord is a world's store as one that leases claims, and its server as one
// whose sessions have a guard.
type landlord struct {
	w     *world
	clock *clockwork.FakeClock
	epoch int       // of the last claim
	until time.Time // when that ends, by the store's clock; zero = it was released
	// flights are statements that have arrived at the server and take a while.
	flights []*flight
	late    []string // what happened although its claim had ended
}

type flight struct {
	of     *tenant
	latest time.Time // when the server ends it
	effect func() error
	done   bool
	err    error
}

func newLandlord(w *world) *landlord {
	return &landlord{w: w, clock: w.clock.(*clockwork.FakeClock)}
}

// pass lets time go by: each statement that must end within it does so at the last
// moment.
func (l *landlord) pass(d time.Duration) {
	end := l.clock.Now().Add(d)
	for {
		i := slices.IndexFunc(l.flights, func(f *flight) bool { return !f.latest.After(end) })
		if i < 0 {
			l.clock.Advance(end.Sub(l.clock.Now()))
			return
		}
		l.clock.Advance(max(0, l.flights[i].latest.Sub(l.clock.Now())))
		l.land(l.flights[i])
	}
}

// land has the server do what a statement says.
func (l *landlord) land(f *flight) error {
	if !f.done {
		f.done, f.err = true, f.effect()
		l.flights = slices.DeleteFunc(l.flights, func(g *flight) bool { return g == f })
		if !l.holds(f.of) {
			l.late = append(l.late, "a password was changed at the server")
		}
	}
	return f.err
}

func (l *landlord) holds(t *tenant) bool {
	return l.epoch == t.epoch && l.clock.Now().Before(l.until)
}

// tenant is one process that holds, or thinks that it holds, the world's secret:
// the rotator's Leased. Its calls are those of a proc, one turn each.
type tenant struct {
	*proc
	l     *landlord
	epoch int
	begun time.Time // when its claim began anew, as far as it knows
	heard time.Time // when the server last heard of it
	gone  error
	stop  []context.CancelCauseFunc
}

// claim claims the secret for a process, with the claim's own turn.
func (l *landlord) claim(p *proc) (*tenant, error) {
	t := &tenant{proc: p, l: l}
	begun := l.clock.Now()
	err := p.at(func() error {
		if l.clock.Now().Before(l.until) {
			return secrets.Errorf(secrets.Conflict, "another process is rotating it")
		}
		l.epoch++
		t.epoch, l.until, t.begun = l.epoch, l.clock.Now().Add(leaseTime), begun
		return nil
	})
	return t, err
}

func (t *tenant) release() {
	_ = t.at(func() error {
		if t.l.epoch == t.epoch {
			t.l.until = time.Time{}
		}
		return nil
	})
}

// beat is a renewal in the background.
func (t *tenant) beat() {
	if t.l.holds(t) {
		t.begun, t.l.until = t.l.clock.Now(), t.l.clock.Now().Add(leaseTime)
	}
}

// look ends the contexts when the claim can't be relied on any more.
func (t *tenant) look() {
	if t.gone == nil && !t.l.clock.Now().Before(t.begun.Add(leaseTime-strategies.Guard)) {
		t.gone = secrets.Errorf(secrets.Conflict, "the store was not heard of")
	}
	if t.gone != nil {
		for _, stop := range t.stop {
			stop(t.gone)
		}
	}
}

func (t *tenant) Context(ctx context.Context) context.Context {
	ctx, stop := context.WithCancelCause(ctx)
	t.stop = append(t.stop, stop)
	t.look()
	return ctx
}

func (t *tenant) Confirm(context.Context) error { return t.fenced(func() error { return nil }) }

// fenced is a write: refused unless the claim is held, which then begins anew.
func (t *tenant) fenced(effect func() error) error {
	begun := t.l.clock.Now()
	lost := false
	err := t.at(func() error {
		if lost = !t.l.holds(t); lost {
			return secrets.Errorf(secrets.Conflict, "the claim has ended")
		}
		t.l.until = t.l.clock.Now().Add(leaseTime)
		return effect()
	})
	switch {
	case lost:
		t.gone = err
	case err == nil:
		t.begun = begun
	}
	t.look()
	return err
}

func (t *tenant) Versions(context.Context) (vs secrets.Versions, err error) {
	err = t.at(func() error { vs = t.w.versions; return nil })
	return vs, err
}

func (t *tenant) PutPending(ctx context.Context, id string, v secrets.Value) (out string, err error) {
	err = t.fenced(func() error { out, err = t.w.PutPending(ctx, id, v); return err })
	return out, err
}

func (t *tenant) Promote(ctx context.Context, id string, keepPending bool) error {
	return t.fenced(func() error { return t.w.Promote(ctx, id, keepPending) })
}

func (t *tenant) MoveLabel(ctx context.Context, label, id string) error {
	return t.fenced(func() error { return t.w.MoveLabel(ctx, label, id) })
}

// Unfenced hides proc's: this claim keeps others out.
func (t *tenant) Unfenced(never) {}

type never struct{}

// reads is a call to the server that changes nothing.
func (t *tenant) reads(effect func() error) error {
	t.look()
	err := t.at(effect)
	t.heard = t.l.clock.Now()
	return err
}

// send sends a change, as an engine does: on an open session, when it has looked
// whether there is time. It may pause after that; the server waits for it no longer
// than its guard, and works on it as long again at most.
func (t *tenant) send(ctx context.Context, effect func() error) error {
	t.look()
	if ctx.Err() != nil {
		return secrets.Errorf(secrets.Transient, "the time ran out before the change was sent: %w", ctx.Err())
	}
	var f *flight
	err := t.at(func() error {
		now := t.l.clock.Now()
		if now.Sub(t.heard) > strategies.Guard {
			return secrets.Errorf(secrets.Transient, "the session has ended")
		}
		f = &flight{of: t, latest: now.Add(strategies.Guard), effect: effect}
		t.l.flights = append(t.l.flights, f)
		return nil
	})
	if err != nil {
		return err
	}
	err = t.at(func() error { return t.l.land(f) })
	t.heard = t.l.clock.Now()
	return err
}

// run is one run under this claim.
func (t *tenant) run(o rotator.Options) error {
	r := &rotator.Rotator{Clock: t.l.clock, StepTimeout: 24 * time.Hour, Steps: func(secrets.RotationRules) rotator.Steps {
		return &steps{w: t.w, at: t.reads, send: t.send, badTest: func() bool { return t.badTest }}
	}}
	_, err := r.Run(context.Background(), t, secrets.RotationRules{}, o)
	t.errs = append(t.errs, err)
	return err
}

var _ rotator.Leased = (*tenant)(nil)

// rotates claims, runs and releases.
func (l *landlord) rotates(p *proc, o rotator.Options) error {
	t, err := l.claim(p)
	if err != nil {
		return err
	}
	defer t.release()
	return t.run(o)
}

// TestLeaseEndsAtEveryInstant: a process stands still before each of its calls to
// store and server, until another one has taken the secret over and rotated it.
// Then it goes on: nothing of what it does has any effect, and its run ends as one
// that lost its claim.
func TestLeaseEndsAtEveryInstant(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		for _, sc := range scenarios {
			t.Run(fmt.Sprintf("alternating=%v/%s", alternating, sc.name), func(t *testing.T) {
				for n := 2; ; n++ { // the first one is the claim
					w := newWorld(alternating)
					sc.arrange(w)
					l := newLandlord(w)
					p := &proc{w: w, badTest: w.badTest}
					after := ""
					p.before = func(call int) {
						if call != n {
							return
						}
						l.pass(leaseTime)
						w.badTest, w.lagging, w.refuseAll = false, false, false
						if err := l.rotates(&proc{w: w}, rotator.Options{}); err != nil {
							t.Fatalf("taking over at call %d: %v", n, err)
						}
						if b := w.broken(); b != "" {
							t.Fatalf("taken over at call %d: %s", n, b)
						}
						after = fmt.Sprint(w.versions, w.values, w.server)
					}
					tenant, err := l.claim(p)
					if err != nil {
						t.Fatal(err)
					}
					err = tenant.run(rotator.Options{})
					if after == "" {
						if n < 6 {
							t.Fatalf("the run made only %d calls", n)
						}
						return // every instant was tried
					}
					now := fmt.Sprint(w.versions, w.values, w.server)
					if now != after || len(l.late) > 0 {
						t.Fatalf("at call %d it stood still, and changed something afterwards: %v\nbefore %s\nnow    %s", n, l.late, after, now)
					}
					// Its last call may have been the one that it stood still before: then
					// it has nothing left to find out by.
					if err != nil && (secrets.KindOf(err) != secrets.Conflict || !errors.Is(err, rotator.ErrLost)) {
						t.Fatalf("at call %d it stood still: error %v", n, err)
					}
				}
			})
		}
	}
}

// TestLeaseOfAnother: what a run that has lost its claim says.
func TestLeaseOfAnother(t *testing.T) {
	w := newWorld(false)
	l := newLandlord(w)
	p := &proc{w: w}
	p.before = func(call int) {
		if call == 6 {
			l.pass(leaseTime)
		}
	}
	err := l.rotates(p, rotator.Options{})
	var e *secrets.Error
	if !errors.Is(err, rotator.ErrLost) || !errors.As(err, &e) || e.Hint == "" || e.Secret != "s" || e.Step == "" || e.Server != "" ||
		!strings.Contains(err.Error(), "another process goes on with it") {
		t.Errorf("%v", err)
	}
}

// TestRotatorsUnderLeases: two processes rotate one secret, stand still and go on
// at any time, die and are started again, fail their tests. No password is ever
// changed, nor anything written, under a claim that has ended, and the labels tell
// whoever comes last what is left to do.
func TestRotatorsUnderLeases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Bool().Draw(t, "alternating"))
		if rapid.Bool().Draw(t, "rotated before") {
			w.rotate(rotator.Options{})
		}
		if rapid.Bool().Draw(t, "begun before") {
			w.personPuts(w.values[w.versions.IDWith(secrets.Current)]+"next", secrets.Pending, secrets.Intent)
		}
		l := newLandlord(w)
		s := &stage{events: make(chan *proc)}
		defer s.clear()
		procs := []*proc{{w: w}, {w: w}}
		tenants := make([]*tenant, len(procs))
		for i, p := range procs {
			p.badTest = rapid.IntRange(0, 3).Draw(t, "bad test") == 0
			p.fuse, p.after = rapid.IntRange(0, 30).Draw(t, "fuse"), rapid.Bool().Draw(t, "after")
			s.act(p, func() {
				for range 4 { // claims, most of them refused while the other has it
					var err error
					if tenants[i], err = l.claim(p); err == nil {
						_ = tenants[i].run(rotator.Options{})
						tenants[i].release()
					}
					if p.dead {
						if s.over {
							return
						}
						p.dead, p.fuse = false, 0 // another process in its place
					}
				}
			})
		}
		s.play(func(n int) int {
			if d := rapid.SampledFrom([]int{0, 0, 0, 0, 1, 3, 6, 7, 8, 14, 15}).Draw(t, "seconds"); d > 0 {
				l.pass(time.Duration(d) * time.Second)
				if i := rapid.IntRange(0, 3).Draw(t, "beats"); i < len(tenants) && tenants[i] != nil && !tenants[i].dead {
					tenants[i].beat()
				}
			}
			return rapid.IntRange(0, n-1).Draw(t, "turn")
		})
		l.pass(leaseTime + strategies.Guard)
		if len(l.late) > 0 {
			t.Fatalf("after the claim had ended: %v\n%s", l.late, w.tell(procs))
		}
		for _, err := range append(procs[0].errs, procs[1].errs...) {
			if errors.Is(err, rotator.ErrLost) && secrets.KindOf(err) != secrets.Conflict {
				t.Fatalf("a lost claim is %v: %v", secrets.KindOf(err), err)
			}
		}
		left := w.tell(procs)
		if err := l.rotates(&proc{w: w}, rotator.Options{ResumeOnly: true}); err != nil || w.broken() != "" {
			t.Fatalf("%s (then: %v)\nleft: %s\nnow: %s", w.broken(), err, left, w.tell(procs))
		}
	})
}
