package scheduler

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/google/uuid"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// teller tells the Listener of one run:
//
//	RotationStarted     when it begins with createSecret, as custom functions do
//	                    at every try
//	RotationAbandoned   when a version will not become AWSCURRENT any more
//	RotationSucceeded   when one has become it, also one begun by an earlier run
//	RotationFailed      when a failure goes on record
//
// A run that finds nothing to do has none of these, and one that was stopped, or
// found the labels moved or its claim lost, has no end: what it began, another run
// goes on with. A dry run has TestRotationStarted and one of the two that follow it.
// The start of a run comes before its end.
type teller struct {
	r       *Runner
	ctx     context.Context
	of      events.Event // what all events of the run have
	dry     bool
	version string // the last one heard of
	started bool
}

// teller returns the one for a run of a claimed secret, and the run's options for
// the rotator, which has it hear what happens. Without a Listener it is nil, and
// tells nobody.
func (r *Runner) teller(ctx context.Context, claim Claim, rules secrets.RotationRules, o rotator.Options) (*teller, rotator.Options) {
	if r.Listener == nil {
		return nil, o
	}
	// What happened is told also when the run was stopped.
	t := &teller{r: r, ctx: context.WithoutCancel(ctx), dry: o.DryRun}
	t.of = events.Event{Secret: claim.ARN(), Run: uuid.NewString(), Strategy: rules.Strategy}
	if rules.Strategy == secrets.Function {
		t.of.Function = rules.Function
	}
	if t.dry {
		t.tell(events.TestRotationStarted, "")
	}
	report := o.Report
	o.Report = func(e rotator.Event) {
		t.heard(e)
		if report != nil {
			report(e)
		}
	}
	return t, o
}

// heard makes of what the rotator reports what the Listener is told.
func (t *teller) heard(e rotator.Event) {
	begins := e.Step == rotator.CreateSecret && !e.Done && e.Note == ""
	if e.Version != "" || begins {
		t.version = e.Version // begins: what was settled before is not what is made now
	}
	switch {
	case e.Abandoned != "":
		t.tell(events.RotationAbandoned, e.Abandoned)
	case begins && !t.started && !t.dry:
		t.started = true
		t.tell(events.RotationStarted, e.Version)
	}
}

// ended tells how the run ended.
func (t *teller) ended(a attempt) {
	if t == nil {
		return
	}
	if a.result.Version != "" {
		t.version = a.result.Version
	}
	switch {
	case t.dry && a.err != nil:
		t.failed(events.TestRotationFailed, a)
	case t.dry:
		t.tell(events.TestRotationSucceeded, t.version)
	case a.err != nil && !a.next.IsZero():
		t.failed(events.RotationFailed, a)
	case a.err == nil && (a.result.Outcome == rotator.Rotated || a.result.Outcome == rotator.Resumed):
		t.tell(events.RotationSucceeded, t.version)
	}
}

func (t *teller) failed(name events.Name, a attempt) {
	t.of.Error, t.of.Kind, t.of.NextTry = oneLine(a.err), secrets.KindOf(a.err), a.next
	var e *secrets.Error
	if errors.As(a.err, &e) {
		t.of.Step = e.Step
	}
	t.tell(name, t.version)
}

// tell tells the Listener. Should that panic, the rotation goes on.
func (t *teller) tell(name events.Name, version string) {
	e := t.of
	e.Name, e.Time, e.Version = name, t.r.Rotator.Clock.Now(), version
	defer func() {
		if p := recover(); p != nil {
			t.r.log().Error("panic in a listener of events", "secret", e.Secret.Name, "event", string(name), "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		}
	}()
	t.r.Listener.Hear(t.ctx, e)
}
