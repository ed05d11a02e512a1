package rotator_test

import (
	"strings"
	"testing"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// TestRehearsal: a function is tried by its testSecret alone, on a copy of
// AWSCURRENT that is gone afterwards.
func TestRehearsal(t *testing.T) {
	refused := secrets.Errorf(secrets.Denied, "login refused")
	tests := []struct {
		name    string
		arrange func(w *world, f *function)
		outcome rotator.Outcome
		err     string
		calls   string
		pending bool // stays, since it is somebody else's
	}{
		{name: "it works", outcome: rotator.Checked, calls: "testSecret"},
		{name: "it fails", arrange: func(w *world, f *function) { f.fails[rotator.TestSecret] = refused }, err: "testSecret: login refused", calls: "testSecret"},
		{name: "it can't be called", arrange: func(w *world, f *function) { f.refused = refused }, err: "testSecret: login refused"},
		{name: "a person puts a value meanwhile", arrange: func(w *world, f *function) {
			f.during[rotator.TestSecret] = func() { w.personPuts("app:pw0") }
		}, outcome: rotator.Checked, calls: "testSecret"},
		{name: "a rotation is under way", arrange: func(w *world, f *function) { w.ask(asked); w.fill("app:before") }, outcome: rotator.Pending, pending: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(false)
			f := newFunction(w)
			f.during[rotator.TestSecret] = func() {
				v, ok := w.versions.With(secrets.Pending)
				if !ok || w.values[v.ID] != "app:pw0" || v.Has(secrets.Intent) {
					t.Errorf("it was told to test %v", v)
				}
			}
			if test.arrange != nil {
				test.arrange(w, f)
			}
			res, err := w.rotateBy(t.Context(), f, rotator.Options{DryRun: true, Rehearse: true})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v", err)
				}
			} else if err != nil || res.Outcome != test.outcome {
				t.Errorf("got %q, %v", res.Outcome, err)
			}
			if got := strings.Join(f.calls, " "); got != test.calls {
				t.Errorf("called %q", got)
			}
			if (w.versions.IDWith(secrets.Pending) != "") != test.pending {
				t.Errorf("afterwards %v", w.versions)
			}
			if w.rotated != 0 || w.sets != 0 {
				t.Error("something was rotated")
			}
		})
	}
}

// TestInterruptedRehearsal: the copy that a process left which died in a
// rehearsal is dropped and not rotated to.
func TestInterruptedRehearsal(t *testing.T) {
	for _, o := range []rotator.Options{{}, {ResumeOnly: true}} {
		w := newWorld(false)
		f := newFunction(w)
		copied := w.putsCopy()
		res, err := w.rotateBy(t.Context(), f, o)
		want := rotator.Rotated
		if o.ResumeOnly {
			want = rotator.Settled
		}
		if err != nil || res.Outcome != want || res.Version == copied || w.versions.IDWith(secrets.Pending) != "" {
			t.Errorf("got %+v, %v; %v", res, err, w.versions)
		}
		if (w.rotated == 1) == o.ResumeOnly {
			t.Errorf("%d rotations", w.rotated)
		}
	}
}
