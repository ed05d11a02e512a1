package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// staged is the world as a store that has rotation functions called.
type staged struct{ *world }

func (s staged) Stage(context.Context) (string, error) {
	id := s.newID()
	return id, s.at(func() error {
		if p, ok := s.versions.With(secrets.Pending); ok && !p.Has(secrets.Current) {
			return secrets.Errorf(secrets.Conflict, "another one is under way")
		}
		s.ask(id)
		return nil
	})
}

func (s staged) StageCopy(context.Context) (string, error) {
	var id string
	return id, s.at(func() error {
		id = s.putsCopy()
		return nil
	})
}

// putsCopy puts what a rehearsal is held on.
func (w *world) putsCopy() string {
	id := secrets.CopyPrefix + w.newID()
	vs, err := w.versions.Put(secrets.Version{ID: id, Created: w.clock.Now()}, []string{secrets.Pending})
	if err != nil {
		panic(err)
	}
	w.versions, w.values[id] = vs, w.values[w.versions.IDWith(secrets.Current)]
	return id
}

// function is somebody else's code: it does the four steps in the world, through
// its API.
type function struct {
	w       *world
	calls   []string
	held    []string            // the values that there were after its last failure
	checked int                 // how often it was checked
	lazy    bool                // finishSecret returns without having done anything
	refused error               // by Check
	fails   map[string]error    // by step, before anything is done
	then    map[string]error    // by step, after it is done
	during  map[string]func()   // what others do meanwhile
	ctx     map[string]ctxState // what its context was like
}

type ctxState struct {
	left      time.Duration
	cancelled bool
}

func newFunction(w *world) *function {
	return &function{w: w, fails: map[string]error{}, then: map[string]error{}, during: map[string]func(){}, ctx: map[string]ctxState{}}
}

func (f *function) Timeout() time.Duration { return 15 * time.Minute }

func (f *function) Check(context.Context, secrets.ARN) error {
	f.checked++
	return f.refused
}

func (f *function) Do(ctx context.Context, step string, _ secrets.ARN, id string, held func(context.Context) ([]secrets.Value, error)) error {
	err := f.do(ctx, step, id)
	if err != nil {
		values, err := held(ctx)
		if err != nil {
			panic(err)
		}
		f.held = nil
		for _, v := range values {
			f.held = append(f.held, text(v))
		}
	}
	return err
}

func (f *function) do(ctx context.Context, step, id string) error {
	f.calls = append(f.calls, step)
	at, _ := ctx.Deadline()
	state := ctxState{left: at.Sub(f.w.clock.Now())}
	select {
	case <-ctx.Done():
		state.cancelled = true
	default:
	}
	f.ctx[step] = state
	if err := f.fails[step]; err != nil {
		return err
	}
	if do := f.during[step]; do != nil {
		do()
	}
	switch v, _ := f.w.versions.Find(id); step {
	case rotator.CreateSecret:
		if v.Empty {
			vs, err := f.w.versions.Put(secrets.Version{ID: id}, []string{secrets.Pending})
			if err != nil {
				return err
			}
			f.w.versions, f.w.values[id] = vs, "app:by-function"+id
		}
	case rotator.SetSecret:
		if err := f.w.set(f.w.values[id]); err != nil {
			return err
		}
	case rotator.FinishSecret:
		if f.lazy {
			return nil
		}
		vs, err := f.w.versions.Move(secrets.Current, id)
		if err != nil {
			return err
		}
		f.w.versions = vs
	}
	return f.then[step]
}

func (w *world) rotateBy(ctx context.Context, f *function, o rotator.Options) (rotator.Result, error) {
	r := w.rotator()
	r.Foreign = func(rules secrets.RotationRules) (rotator.Foreign, error) {
		if rules.Function != "arn:f" {
			return nil, secrets.Errorf(secrets.Invalid, "no such function")
		}
		return f, nil
	}
	return r.Run(ctx, staged{w}, secrets.RotationRules{Strategy: secrets.Function, Function: "arn:f"}, o)
}

func TestFunction(t *testing.T) {
	all := strings.Join(fourSteps, " ")
	transient := secrets.Errorf(secrets.Transient, "throttled")
	tests := []struct {
		name    string
		arrange func(w *world, f *function)
		o       rotator.Options
		outcome rotator.Outcome
		kind    secrets.Kind // with err
		err     string
		calls   string
		rotated int // rotations recorded
		gaveUp  bool
	}{
		{name: "at rest", outcome: rotator.Rotated, calls: all, rotated: 1},
		{name: "at rest, resume only", o: rotator.Options{ResumeOnly: true}, outcome: rotator.AtRest},
		{name: "at rest, dry run", o: rotator.Options{DryRun: true}, outcome: rotator.Checked},
		{name: "asked for", arrange: func(w *world, f *function) { w.ask(asked) }, outcome: rotator.Rotated, calls: all, rotated: 1},
		{name: "asked for, resume only", arrange: func(w *world, f *function) { w.ask(asked) }, o: rotator.Options{ResumeOnly: true}, outcome: rotator.Rotated, calls: all, rotated: 1},
		{name: "created before", arrange: func(w *world, f *function) { w.ask(asked); w.fill("app:before") }, outcome: rotator.Resumed, calls: all, rotated: 1},
		{name: "created before, dry run", arrange: func(w *world, f *function) { w.ask(asked); w.fill("app:before") }, o: rotator.Options{DryRun: true}, outcome: rotator.Pending},
		{name: "AWSCURRENT moved before", arrange: func(w *world, f *function) {
			w.ask(asked)
			w.fill("app:before")
			w.server["app"] = "before"
			w.versions, _ = w.versions.Move(secrets.Current, asked)
		}, outcome: rotator.Resumed, rotated: 1},
		{name: "AWSCURRENT moved before, dry run", arrange: func(w *world, f *function) {
			w.ask(asked)
			w.fill("app:before")
			w.server["app"] = "before"
			w.versions, _ = w.versions.Move(secrets.Current, asked)
		}, o: rotator.Options{DryRun: true}, outcome: rotator.Pending},
		{name: "it takes AWSPENDING off itself", arrange: func(w *world, f *function) {
			f.during[rotator.FinishSecret] = func() {
				w.versions, _ = w.versions.Move(secrets.Current, w.versions.IDWith(secrets.Pending))
				w.pendingOff()
			}
		}, outcome: rotator.Rotated, calls: all, rotated: 1},
		{name: "it moves AWSCURRENT in its first step", arrange: func(w *world, f *function) {
			f.during[rotator.SetSecret] = func() { w.versions, _ = w.versions.Move(secrets.Current, w.versions.IDWith(secrets.Pending)) }
		}, outcome: rotator.Rotated, calls: all, rotated: 1},

		{name: "it can't be called", arrange: func(w *world, f *function) { f.refused = secrets.Errorf(secrets.Denied, "not allowed to invoke") }, kind: secrets.Denied, err: "createSecret: not allowed to invoke"},
		{name: "it can't be called, dry run", arrange: func(w *world, f *function) { f.refused = secrets.Errorf(secrets.Denied, "not allowed to invoke") }, o: rotator.Options{DryRun: true}, kind: secrets.Denied, err: "not allowed to invoke"},
		{name: "throttled", arrange: func(w *world, f *function) { f.fails[rotator.SetSecret] = transient }, kind: secrets.Transient, err: "setSecret: throttled", calls: "createSecret setSecret"},
		{name: "finishSecret does nothing", arrange: func(w *world, f *function) { f.lazy = true }, kind: secrets.Invalid, err: "finishSecret returned, but AWSCURRENT did not move; the function must", calls: all},
		{name: "finishSecret fails after it was done", arrange: func(w *world, f *function) { f.then[rotator.FinishSecret] = transient }, outcome: rotator.Rotated, calls: all, rotated: 1},
		{name: "a person puts a value meanwhile", arrange: func(w *world, f *function) {
			f.during[rotator.TestSecret] = func() { w.personPuts("app:by-hand") }
		}, kind: secrets.Conflict, err: "testSecret: AWSPENDING was taken off version", calls: "createSecret setSecret testSecret", gaveUp: true},
		{name: "and the function fails because of it", arrange: func(w *world, f *function) {
			f.during[rotator.SetSecret] = func() { w.personPuts("app:by-hand") }
			f.then[rotator.SetSecret] = secrets.Errorf(secrets.Denied, "ValueError")
		}, kind: secrets.Conflict, err: "AWSPENDING was taken off", calls: "createSecret setSecret", gaveUp: true},
		{name: "a person moves AWSCURRENT alone meanwhile", arrange: func(w *world, f *function) {
			id := w.personPuts("app:other", "MINE")
			f.during[rotator.TestSecret] = func() { w.versions, _ = w.versions.Move(secrets.Current, id) }
		}, kind: secrets.Conflict, err: "AWSCURRENT was moved to version", calls: "createSecret setSecret testSecret"},
		{name: "no value yet", arrange: func(w *world, f *function) { w.versions = nil }, kind: secrets.Invalid, err: "no value yet"},

		{name: "a rotation of Pawl's own under way", arrange: func(w *world, f *function) {
			w.personPuts("app:next", secrets.Pending, secrets.Intent)
		}, outcome: rotator.Resumed, rotated: 1},
		{name: "a value of Pawl's own abandoned", arrange: func(w *world, f *function) {
			w.personPuts("app:lost", secrets.Pending, secrets.Intent)
			w.server["app"] = "lost"
			w.pendingOff()
		}, outcome: rotator.Rotated, calls: all, rotated: 1, gaveUp: true},
		{name: "a value of Pawl's own abandoned, resume only", arrange: func(w *world, f *function) {
			w.personPuts("app:lost", secrets.Pending, secrets.Intent)
			w.server["app"] = "lost"
			w.pendingOff()
		}, o: rotator.Options{ResumeOnly: true}, outcome: rotator.Settled, gaveUp: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(false)
			f := newFunction(w)
			if tt.arrange != nil {
				tt.arrange(w, f)
			}
			before := fmt.Sprint(w.versions, w.values)
			gaveUp := false
			tt.o.Report = func(e rotator.Event) { gaveUp = gaveUp || e.Abandoned != "" }
			res, err := w.rotateBy(t.Context(), f, tt.o)
			switch {
			case tt.err == "" && (err != nil || res.Outcome != tt.outcome):
				t.Errorf("%q, %v", res.Outcome, err)
			case tt.err != "" && (err == nil || secrets.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want %v %q", err, tt.kind, tt.err)
			}
			if got := strings.Join(f.calls, " "); got != tt.calls {
				t.Errorf("calls %q, want %q", got, tt.calls)
			}
			if w.rotated != tt.rotated || gaveUp != tt.gaveUp {
				t.Errorf("%d rotations recorded; gave up: %v", w.rotated, gaveUp)
			}
			if tt.err == "" && !tt.o.DryRun && w.broken() != "" {
				t.Error(w.broken())
			}
			if (tt.o.DryRun || f.refused != nil) && fmt.Sprint(w.versions, w.values) != before {
				t.Errorf("changed from %s to %v", before, w.versions)
			}
			if tt.err != "" && tt.kind == secrets.Transient {
				// The same version goes on.
				clear(f.fails)
				pending := w.versions.IDWith(secrets.Pending)
				if res, err := w.rotateBy(t.Context(), f, rotator.Options{}); err != nil || res.Version != pending || w.broken() != "" {
					t.Errorf("again: %v, %v, %s", res, err, w.broken())
				}
			}
		})
	}
}

// TestFunctionsAndIntent: whatever Pawl's own strategies left at rest, any number
// of rotations by a function later there is nothing for them to settle; whether
// they were asked for or came by the schedule.
func TestFunctionsAndIntent(t *testing.T) {
	for _, ask := range []bool{false, true} {
		testFunctionsAndIntent(t, ask)
	}
}

func testFunctionsAndIntent(t *testing.T, ask bool) {
	w := newWorld(false)
	for range 2 {
		if _, err := w.rotate(rotator.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		f := newFunction(w)
		if ask {
			w.ask(fmt.Sprintf("%s%d", asked, n))
		}
		if res, err := w.rotateBy(t.Context(), f, rotator.Options{}); err != nil || res.Outcome != rotator.Rotated || w.broken() != "" {
			t.Fatalf("%v, %v, %s", res, err, w.broken())
		}
		if !ask {
			w.personPuts(w.values[w.versions.IDWith(secrets.Current)])
		}
	}
	if w.failed != 0 || w.versions.IDWith(secrets.Intent) != "" {
		t.Errorf("%d refused logins; %v", w.failed, w.versions)
	}
	if _, err := w.rotate(rotator.Options{}); err != nil || w.broken() != "" {
		t.Errorf("back to Pawl's own: %v, %s", err, w.broken())
	}
}

// TestFunctionsTime: each step has the function's own time, and from setSecret on
// nothing stops it.
func TestFunctionsTime(t *testing.T) {
	w := newWorld(false)
	f := newFunction(w)
	ctx, cancel := context.WithCancelCause(t.Context())
	f.during[rotator.SetSecret] = func() { cancel(errors.New("a signal")) }
	if _, err := w.rotateBy(ctx, f, rotator.Options{}); err != nil || w.broken() != "" {
		t.Fatalf("%v, %s", err, w.broken())
	}
	for _, step := range fourSteps {
		if c := f.ctx[step]; c.cancelled || c.left != f.Timeout() {
			t.Errorf("%s: %+v", step, c)
		}
	}

	w = newWorld(false)
	f = newFunction(w)
	ctx, cancel = context.WithCancelCause(t.Context())
	f.during[rotator.CreateSecret] = func() { cancel(errors.New("a signal")) }
	if _, err := w.rotateBy(ctx, f, rotator.Options{}); secrets.KindOf(err) != secrets.Transient || len(f.calls) != 1 {
		t.Errorf("%v after %v", err, f.calls)
	}
}

// TestFunctionsValues: the function's caller gets all values of the rotation, to
// keep them out of what is shown: the one that the failed step has made, too.
func TestFunctionsValues(t *testing.T) {
	w := newWorld(false)
	w.rotateBy(t.Context(), newFunction(w), rotator.Options{})
	f := newFunction(w)
	f.then[rotator.CreateSecret] = secrets.Errorf(secrets.Denied, "no")
	w.rotateBy(t.Context(), f, rotator.Options{})
	want := []string{w.values[w.versions.IDWith(secrets.Pending)], w.values[w.versions.IDWith(secrets.Current)], w.values[w.versions.IDWith(secrets.Previous)]}
	if !slices.Equal(f.held, want) || slices.Contains(want, "") {
		t.Errorf("the values %q were given, want the new one, AWSCURRENT's and AWSPREVIOUS's: %q", f.held, want)
	}
}

// TestNoFunctions: where there are none, and where the store can't have them
// called, the error says so and nothing is changed.
func TestNoFunctions(t *testing.T) {
	w := newWorld(false)
	before := fmt.Sprint(w.versions)
	rules := secrets.RotationRules{Strategy: secrets.Function, Function: "arn:f"}
	_, err := w.rotator().Run(t.Context(), staged{w}, rules, rotator.Options{})
	if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), `no custom rotation function "arn:f" here; name it`) {
		t.Errorf("error %v", err)
	}
	r := w.rotator()
	r.Foreign = func(secrets.RotationRules) (rotator.Foreign, error) { return newFunction(w), nil }
	for _, dry := range []bool{false, true} {
		_, err = r.Run(t.Context(), w, rules, rotator.Options{DryRun: dry})
		if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "aws secretsmanager rotate-secret --secret-id s") {
			t.Errorf("error %v", err)
		}
	}
	if after := fmt.Sprint(w.versions); after != before {
		t.Errorf("changed to %s", after)
	}
}

// TestFunctionUnderALease: before each step the claim is confirmed; once it is lost
// the function is not called any more, and whoever has the secret goes on.
func TestFunctionUnderALease(t *testing.T) {
	for n, step := range fourSteps {
		w := newWorld(false)
		l := newLandlord(w)
		f := newFunction(w)
		tenant, err := l.claim(&proc{w: w})
		if err != nil {
			t.Fatal(err)
		}
		v := leasedStaged{tenant, staged{w}}
		abandoned := false
		o := rotator.Options{Report: func(e rotator.Event) {
			abandoned = abandoned || e.Abandoned != ""
			if e.Step == step && !e.Done && e.Note == "" {
				l.pass(leaseTime) // it stands still
			}
		}}
		r := w.rotator()
		r.Foreign = func(secrets.RotationRules) (rotator.Foreign, error) { return f, nil }
		rules := secrets.RotationRules{Strategy: secrets.Function, Function: "arn:f"}
		_, err = r.Run(t.Context(), v, rules, o)
		if !errors.Is(err, rotator.ErrLost) || secrets.KindOf(err) != secrets.Conflict || abandoned {
			t.Errorf("%s: error %v, abandoned=%v", step, err, abandoned)
		}
		if got := strings.Join(f.calls, " "); got != strings.Join(fourSteps[:n], " ") {
			t.Errorf("%s: called for %q", step, got)
		}
		f.calls = nil
		if tenant, err = l.claim(&proc{w: w}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Run(t.Context(), leasedStaged{tenant, staged{w}}, rules, rotator.Options{}); err != nil || w.broken() != "" {
			t.Errorf("%s: taken over: %v; %s", step, err, w.broken())
		}
	}
}

// leasedStaged is a leased vault that can stage versions.
type leasedStaged struct {
	*tenant
	stager staged
}

func (l leasedStaged) Stage(ctx context.Context) (id string, err error) {
	err = l.fenced(func() error { id, err = l.stager.Stage(ctx); return err })
	return id, err
}

func (l leasedStaged) StageCopy(ctx context.Context) (id string, err error) {
	err = l.fenced(func() error { id, err = l.stager.StageCopy(ctx); return err })
	return id, err
}
