package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// heard is a Listener that writes down what it hears.
type heard struct {
	mu  sync.Mutex
	all []events.Event
}

func (h *heard) Hear(ctx context.Context, e events.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		e.Error = "the context has ended"
	}
	h.all = append(h.all, e)
}

// take returns what was heard since the last take.
func (h *heard) take() []events.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.all
	h.all = nil
	return all
}

// listened is a world of one secret with a Listener.
func listened(t *testing.T) (*world, *heard) {
	w, h := one(t), &heard{}
	w.runner.Listener = h
	return w, h
}

// inStepOnly is a script that fails in one step.
func inStepOnly(step string, err error) func(context.Context, string, string) error {
	return func(_ context.Context, _, s string) error {
		if s == step {
			return err
		}
		return nil
	}
}

// brief is an event on a line; the version is named v where it is the secret's
// newest.
func (w *world) brief(e events.Event) string {
	s := string(e.Name)
	if e.Version != "" {
		vs := w.state("app").Versions
		switch e.Version {
		case w.abandoned:
			s += " the abandoned"
		case vs[len(vs)-1].ID:
			s += " v"
		default:
			s += " " + e.Version
		}
	}
	if e.Error != "" {
		s += fmt.Sprintf(" %s %s", e.Step, e.Kind)
	}
	return s
}

var cut = secrets.Errorf(secrets.Unknown, "the line broke")

// interrupted leaves a rotation that has got as far as the server.
func interrupted(w *world) {
	w.servers.script("db", inStepOnly("set", cut))
	if _, err := w.runner.Once(w.t.Context(), "app", rotator.Options{}); err == nil {
		w.t.Fatal("it was not interrupted")
	}
}

// overtaken leaves one, and a newer value that somebody put by hand.
func overtaken(w *world) {
	interrupted(w)
	w.abandoned = w.state("app").Versions.IDWith(secrets.Pending)
	if err := w.putByHand(w.t.Context(), "app", "check"); err != nil {
		w.t.Fatal(err)
	}
}

func TestEventsOfARun(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(w *world) func(context.Context, string, string) error
		before func(w *world)
		o      rotator.Options
		want   []string
	}{
		{name: "rotated", want: []string{"RotationStarted", "RotationSucceeded v"}},
		{name: "asked for", before: (*world).start1, want: []string{"RotationStarted v", "RotationSucceeded v"}},
		{name: "nothing to do", o: rotator.Options{ResumeOnly: true}},
		{name: "refused before there is a version", script: func(*world) func(context.Context, string, string) error { return down },
			want: []string{"RotationStarted", "RotationFailed createSecret transient"}},
		{name: "failed later", script: func(*world) func(context.Context, string, string) error { return inStepOnly("set", cut) },
			want: []string{"RotationStarted", "RotationFailed v setSecret unknown"}},
		{name: "resumed", before: interrupted, o: rotator.Options{ResumeOnly: true}, want: []string{"RotationSucceeded v"}},
		{name: "resumed in vain", before: interrupted, script: func(*world) func(context.Context, string, string) error {
			return inStepOnly("set", down(context.Background(), "", ""))
		},
			want: []string{"RotationFailed v setSecret transient"}},
		{name: "labels moved", script: func(w *world) func(context.Context, string, string) error { return w.putByHand },
			want: []string{"RotationStarted"}},
		{name: "taken back", script: func(*world) func(context.Context, string, string) error { return inStepOnly("test", refused("db")) },
			want: []string{"RotationStarted", "RotationAbandoned v", "RotationFailed v testSecret denied"}},
		{name: "settled, and made anew", before: overtaken, want: []string{"RotationAbandoned the abandoned", "RotationStarted", "RotationSucceeded v"}},
		{name: "settled, and refused", before: overtaken, script: func(*world) func(context.Context, string, string) error { return inStepOnly("check", refused("db")) },
			want: []string{"RotationAbandoned the abandoned", "RotationStarted", "RotationFailed createSecret denied"}},
		{name: "a panic", script: func(*world) func(context.Context, string, string) error {
			return func(_ context.Context, _, step string) error {
				if step == "test" {
					panic("boom")
				}
				return nil
			}
		}, want: []string{"RotationStarted", "RotationFailed v  unknown"}},
		{name: "a test", o: rotator.Options{DryRun: true}, want: []string{"TestRotationStarted", "TestRotationSucceeded"}},
		{name: "a test that fails", o: rotator.Options{DryRun: true}, script: func(*world) func(context.Context, string, string) error { return down },
			want: []string{"TestRotationStarted", "TestRotationFailed createSecret transient"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, h := listened(t)
			if c.before != nil {
				c.before(w)
			}
			w.servers.script("db", nil)
			if c.script != nil {
				w.servers.script("db", c.script(w))
			}
			h.take()
			w.runner.Once(t.Context(), "app", c.o)
			got := h.take()
			var briefs []string
			for _, e := range got {
				briefs = append(briefs, w.brief(e))
				if e.Secret != w.arns["app"] || e.Run == "" || e.Run != got[0].Run || e.Time.Before(midnight) || e.Time.After(w.clock.Now()) || e.Strategy != secrets.SingleUser || e.Function != "" {
					t.Errorf("got %+v", e)
				}
			}
			if diff := cmp.Diff(c.want, briefs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// start1 asks for a rotation by name.
func (w *world) start1() {
	w.t.Helper()
	if _, err := w.svc.StartRotation(w.t.Context(), service.StartRotationInput{SecretID: "app", ClientRequestToken: token}); err != nil {
		w.t.Fatal(err)
	}
}

// TestEventOfAFailure says what the record of the failure says.
func TestEventOfAFailure(t *testing.T) {
	w, h := listened(t)
	w.servers.script("db", down)
	w.runner.Once(t.Context(), "app", rotator.Options{})
	e, a := h.take()[1], w.state("app").Rotation.Attempt
	if e.Error != a.LastError || e.Kind != a.Kind || !e.NextTry.Equal(a.NextTry) || a.Tries != 1 {
		t.Errorf("%+v is not %+v", e, a)
	}
}

// TestEventsOfAStoppedRun: a stop is no failure; what happened anyway is told.
func TestEventsOfAStoppedRun(t *testing.T) {
	for step, want := range map[string][]string{
		"check": {"RotationStarted"},
		"set":   {"RotationStarted", "RotationSucceeded v"}, // it goes to its end
	} {
		w, h := listened(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		w.servers.script("db", func(ctx context.Context, _, s string) error {
			if s == step {
				cancel(errBoom)
			}
			return ctx.Err()
		})
		w.runner.Once(ctx, "app", rotator.Options{})
		var got []string
		for _, e := range h.take() {
			got = append(got, w.brief(e))
		}
		if !slices.Equal(got, want) {
			t.Errorf("stopped in %s: %q", step, got)
		}
	}
}

// function is a custom function that does what it should, through the API; fail,
// where set, is what it says of a step instead.
type function struct {
	w    *world
	fail func(step string) error
}

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:mine"

func (f *function) Timeout() time.Duration                   { return time.Minute }
func (f *function) Check(context.Context, secrets.ARN) error { return f.failed("check") }

func (f *function) failed(step string) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(step)
}

func (f *function) Do(ctx context.Context, step string, arn secrets.ARN, id string, _ func(context.Context) ([]secrets.Value, error)) error {
	err := f.failed(step)
	switch {
	case err != nil:
	case step == rotator.CreateSecret:
		_, err = f.w.svc.PutSecretValue(ctx, service.PutSecretValueInput{
			SecretID: arn.String(), ClientRequestToken: id, GivenValue: service.Give(secrets.Text(`{"by":"the function"}`)), VersionStages: []string{secrets.Pending},
		})
	case step == rotator.FinishSecret:
		_, err = f.w.svc.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{
			SecretID: arn.String(), VersionStage: secrets.Current, MoveToVersionID: id, RemoveFromVersionID: f.w.state("app").Versions.IDWith(secrets.Current),
		})
	}
	return err
}

// TestEventsOfAFunction: a custom function's rotation, which fails once and is
// then done again from its first step.
func TestEventsOfAFunction(t *testing.T) {
	w, h := newWorld(t, 0, 0), &heard{}
	w.runner.Listener = h
	f := &function{w: w}
	w.runner.Rotator.Foreign = func(secrets.RotationRules) (rotator.Foreign, error) { return f, nil }
	w.add(secrets.RotationRules{Strategy: secrets.Function, Function: functionARN}, "db", "app")
	want := func(o rotator.Options, briefs ...string) {
		t.Helper()
		w.runner.Once(t.Context(), "app", o)
		var got []string
		for _, e := range h.take() {
			if e.Function != functionARN || e.Strategy != secrets.Function {
				t.Errorf("got %+v", e)
			}
			got = append(got, w.brief(e))
		}
		if diff := cmp.Diff(briefs, got); diff != "" {
			t.Error(diff)
		}
	}
	f.fail = func(step string) error {
		if step == rotator.SetSecret {
			return secrets.Errorf(secrets.Transient, "throttled")
		}
		return nil
	}
	want(rotator.Options{DryRun: true}, "TestRotationStarted", "TestRotationSucceeded")
	want(rotator.Options{}, "RotationStarted", "RotationFailed v setSecret transient")
	pending := w.state("app").Versions.IDWith(secrets.Pending)
	f.fail = nil
	want(rotator.Options{ResumeOnly: true}, "RotationStarted v", "RotationSucceeded v")
	sec := w.state("app")
	if sec.Versions.IDWith(secrets.Current) != pending || sec.Versions.Unfinished() || sec.Rotation.LastRotated.IsZero() || sec.Rotation.Attempt.Tries > 0 {
		t.Errorf("got %+v", sec)
	}
	f.fail = func(step string) error {
		if step == rotator.TestSecret {
			w.abandoned = w.state("app").Versions.IDWith(secrets.Pending)
			return w.putByHand(t.Context(), "app", "check")
		}
		return nil
	}
	want(rotator.Options{}, "RotationStarted", "RotationAbandoned the abandoned")
}

type panicking struct{}

func (panicking) Hear(context.Context, events.Event) { panic("the password is hunter2") }

// TestAListenerThatPanics fails no rotation.
func TestAListenerThatPanics(t *testing.T) {
	w := one(t)
	w.runner.Listener = panicking{}
	if res, err := w.runner.Once(t.Context(), "app", rotator.Options{}); err != nil || res.Outcome != rotator.Rotated {
		t.Fatalf("%+v, %v", res, err)
	}
	w.free("app")
	if s := w.log.String(); !strings.Contains(s, "panic in a listener") || strings.Contains(s, "hunter2") {
		t.Error(s)
	}
}

// TestEventsOfTheAPI: a rotation and a test that were asked for through the API,
// by the daemon.
func TestEventsOfTheAPI(t *testing.T) {
	w, h := newWorld(t, 0, 0), &heard{}
	w.runner.Listener = h
	w.svc.Attach(w.sched)
	w.create("db", "app")
	w.start()
	w.rotate("app", true)
	w.rotations(1)
	said := w.logged("TestRotationSucceeded")
	w.rotate("app", false)
	receive(t, said)
	w.stop()
	var got []string
	for _, e := range h.take() {
		got = append(got, w.brief(e))
	}
	if want := []string{"RotationStarted v", "RotationSucceeded v", "TestRotationStarted", "TestRotationSucceeded"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestEventsProperty: whatever happens to some runs, what is heard of each is in
// order, and true.
func TestEventsProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w, h := listened(t)
		for range rapid.IntRange(1, 6).Draw(rt, "runs") {
			w.clock.Advance(time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			fate := rapid.SampledFrom([]string{"ok", "transient", "unknown", "denied", "invalid", "cancel", "panic", "by hand"}).Draw(rt, "fate")
			in := rapid.SampledFrom([]string{"check", "set", "test", "probe", "restore"}).Draw(rt, "step")
			o := rotator.Options{DryRun: rapid.Bool().Draw(rt, "dry"), ResumeOnly: rapid.Bool().Draw(rt, "resume only")}
			w.servers.script("db", func(ctx context.Context, name, step string) error {
				if step != in {
					return nil
				}
				switch fate {
				case "transient":
					return down(ctx, name, step)
				case "unknown":
					return secrets.Errorf(secrets.Unknown, "the line broke")
				case "denied":
					return refused("db")
				case "invalid":
					return secrets.Errorf(secrets.Invalid, "no")
				case "cancel":
					cancel()
					return ctx.Err()
				case "panic":
					panic("boom")
				case "by hand":
					return w.putByHand(ctx, name, "check")
				}
				return nil
			})
			before := w.state("app").Rotation
			h.take()
			res, err := w.runner.Once(ctx, "app", o)
			cancel()
			after := w.state("app")
			truth(rt, h.take(), o, res, err, before, after)
		}
	})
}

// truth holds what was heard of one run against what became of it.
func truth(t *rapid.T, got []events.Event, o rotator.Options, res rotator.Result, err error, before *secrets.Rotation, after *service.Secret) {
	var names []events.Name
	for _, e := range got {
		if e.Run != got[0].Run {
			t.Fatalf("two runs: %+v", got)
		}
		if e.Name != events.RotationAbandoned {
			names = append(names, e.Name)
			continue
		}
		if v, _ := after.Versions.Find(e.Version); e.Version == "" || v.Has(secrets.Current) || v.Has(secrets.Pending) {
			t.Fatalf("told as abandoned: %q %q", e.Version, v.Labels)
		}
	}
	if o.DryRun {
		want := []events.Name{events.TestRotationStarted, events.TestRotationSucceeded}
		if err != nil {
			want[1] = events.TestRotationFailed
		}
		if !slices.Equal(names, want) {
			t.Fatalf("a test that ended with %v is told as %q", err, names)
		}
		return
	}
	started := len(names) > 0 && names[0] == events.RotationStarted
	if started {
		names = names[1:]
	}
	recorded := err != nil && after.Rotation.Attempt != (secrets.Attempt{}) && after.Rotation.Attempt != before.Attempt
	rotated := err == nil && after.Rotation.LastRotated.After(before.LastRotated)
	switch {
	case rotated:
		e := got[len(got)-1]
		if !slices.Equal(names, []events.Name{events.RotationSucceeded}) || e.Version != after.Versions.IDWith(secrets.Current) || e.Error != "" {
			t.Fatalf("a rotation to %s is told as %+v", after.Versions.IDWith(secrets.Current), got)
		}
		if started != (res.Outcome == rotator.Rotated) {
			t.Fatalf("%s, and told as %+v", res.Outcome, got)
		}
	case recorded:
		e := got[len(got)-1]
		if !slices.Equal(names, []events.Name{events.RotationFailed}) || e.Error != after.Rotation.Attempt.LastError || !e.NextTry.Equal(after.Rotation.Attempt.NextTry) {
			t.Fatalf("the failure %+v is told as %+v", after.Rotation.Attempt, got)
		}
	case len(names) > 0:
		t.Fatalf("%s, %v is told as %+v", res.Outcome, err, got)
	}
}
