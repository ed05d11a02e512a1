// Package rotator takes one secret through one rotation: createSecret,
// setSecret, testSecret, finishSecret. What has been done already it reads from
// the staging labels, so that it can be stopped at any instant and started
// again anywhere. It knows no SQL, no HTTP and no AWS.
package rotator

import (
	"context"
	"errors"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// Steps is how one kind of rotation is done. It serves one run; Close ends it.
// Every method may be called again after it failed, and after the process died.
type Steps interface {
	// Check makes sure that the rotation can succeed, and changes nothing.
	Check(context.Context, *strategies.Job) error
	// Create returns the new value. It touches no server.
	Create(context.Context, *strategies.Job) (secrets.Value, error)
	// Adapt returns a pending value as it should be for the present AWSCURRENT,
	// or an error when it can't be.
	Adapt(*strategies.Job) (secrets.Value, error)
	// Probe asks the server whether it accepts the pending value.
	Probe(context.Context, *strategies.Job) (bool, error)
	// Set makes the server accept the pending value.
	Set(context.Context, *strategies.Job) error
	// Test proves that the pending value works wherever it will be used.
	Test(context.Context, *strategies.Job) error
	// Restore makes the server accept AWSCURRENT again.
	Restore(context.Context, *strategies.Job) error
	// Holds reports whether AWSCURRENT goes on working between Set and promotion.
	Holds(*strategies.Job) bool
	// TestTimeout is how long Test may take when one login may take this long.
	TestTimeout(login time.Duration) time.Duration
	Close()
}

// Finisher is a Steps with follow-ups after the promotion (discard an old
// password, revoke an old key).
type Finisher interface {
	Finish(context.Context, *strategies.Job) error
}

// The names of the steps, AWS's own.
const (
	CreateSecret = "createSecret"
	SetSecret    = "setSecret"
	TestSecret   = "testSecret"
	FinishSecret = "finishSecret"
)

// Event is something that happened in a run, for logs and for people.
type Event struct {
	Time    time.Time     `json:"time"`
	Secret  string        `json:"secret"`
	Step    string        `json:"step"`
	Done    bool          `json:"done"`              // the step ended well; false with an empty Note: it began
	Version string        `json:"version,omitempty"` // the pending version, where it exists
	Took    time.Duration `json:"took,omitempty"`
	Note    string        `json:"note,omitempty"`
	// Abandoned is the version that will not become AWSCURRENT any more, once that
	// is settled; such an event has a Note.
	Abandoned string `json:"abandoned,omitempty"`
}

// maxTurns is how often one run reads the labels and acts. More than a few turns
// means that somebody else moves them.
const maxTurns = 8

// maxFresh is how many values are tried when the server's password rules refuse
// one.
const maxFresh = 3

// DefaultStepTimeout bounds what one step may take.
const DefaultStepTimeout = 30 * time.Second

// Rotator runs rotations. It is safe for use by many goroutines.
type Rotator struct {
	// Steps returns the steps for a secret's rules.
	Steps func(secrets.RotationRules) Steps
	// Foreign returns the custom function of rules whose strategy is
	// secrets.Function, or an Invalid error; nil = there are none.
	Foreign func(secrets.RotationRules) (Foreign, error)
	Clock   clockwork.Clock
	// StepTimeout bounds each step; 0 = DefaultStepTimeout.
	StepTimeout time.Duration
}

// Options of one run.
type Options struct {
	// ResumeOnly finishes what is under way and begins nothing.
	ResumeOnly bool
	// DryRun connects and checks every precondition, and changes nothing.
	DryRun bool
	// Rehearse, with DryRun, has a custom function do testSecret on a copy of
	// AWSCURRENT, which is staged for it and dropped again: the only thing by which
	// it shows whether it works.
	Rehearse bool
	// Report receives events; nil = nobody listens.
	Report func(Event)
}

// Outcome says what a run did.
type Outcome string

// The outcomes of a run that ended without an error.
const (
	Rotated Outcome = "rotated"       // a new value is AWSCURRENT
	Resumed Outcome = "resumed"       // an interrupted rotation was finished; it counts as the rotation
	Settled Outcome = "settled"       // an abandoned value was settled; AWSCURRENT works
	AtRest  Outcome = "at rest"       // nothing was under way
	Checked Outcome = "checked"       // dry run: a rotation would begin
	Pending Outcome = "would resume"  // dry run: an interrupted rotation would be finished
	Abandon Outcome = "would restore" // dry run: an abandoned value would be settled
)

// Result is what a run did.
type Result struct {
	Outcome Outcome       `json:"outcome"`
	Version string        `json:"versionId,omitempty"`
	Took    time.Duration `json:"took"`
	// Gap is how long AWSCURRENT's password was dead at the server at most: from
	// right before Set until after the promotion. Zero where it went on working.
	Gap time.Duration `json:"gap,omitempty"`
}

// Run takes the secret as far as it can: it settles and finishes what the
// labels say is under way, or makes one new rotation. There is no waiting
// between attempts in here: a caller who gets a Transient or Unknown error
// releases the claim, waits, and runs again. Under rules whose strategy is
// secrets.Function the new rotation is the function's.
//
// ctx may stop it until Set begins; from then on it goes to its end, each step
// bounded by its time-out, because stopping in between helps nobody. The end of a
// claim that may end (Leased) stops it at any time.
//
// Errors carry the secret, the step and the server. After Invalid and Denied of
// a run that started at rest the secret and the server are as they were. Where the
// claim ended under the run it is a Conflict that is ErrLost, and nothing was done
// after that.
func (r *Rotator) Run(ctx context.Context, v Vault, rules secrets.RotationRules, o Options) (Result, error) {
	w := r.begin(v, rules, o)
	defer w.steps.Close()
	res, err := w.loop(ctx)
	err = w.ended(err)
	res.Took = r.Clock.Since(w.began)
	return res, secrets.At(err, w.name, w.step, "")
}

func (r *Rotator) begin(v Vault, rules secrets.RotationRules, o Options) *run {
	_, unfenced := v.(Unfenced)
	return &run{r: r, v: v, o: o, rules: rules, unfenced: unfenced, name: v.ARN().Name, steps: r.Steps(rules), began: r.Clock.Now()}
}

// limit is how long one step may take.
func (r *Rotator) limit() time.Duration {
	if r.StepTimeout == 0 {
		return DefaultStepTimeout
	}
	return r.StepTimeout
}

// run is one Run, or one Step.
type run struct {
	r        *Rotator
	v        Vault
	o        Options
	rules    secrets.RotationRules
	unfenced bool // nothing keeps other rotators out
	driven   bool // somebody else calls the steps, and takes AWSPENDING off
	name     string
	steps    Steps
	step     string // the one under way, for errors
	began    time.Time
	fresh    int              // values refused by the server's rules so far
	seen     secrets.Versions // as the job at hand has them
	current  string           // AWSCURRENT among those
	latest   *strategies.Job  // the one at hand; nil = none yet
	gone     error            // a Conflict by which the claim was found to have ended

	doubt    string // see outrun
	cause    error  // the error that brought the doubt
	refusals int    // see overtaken
}

func (w *run) loop(ctx context.Context) (Result, error) {
	settled := false
	// Each turn acts once and reads the labels again.
	for range maxTurns {
		if err := ctx.Err(); err != nil {
			return Result{}, secrets.Errorf(secrets.Transient, "stopped before the next step: %w", context.Cause(ctx))
		}
		vs, err := w.v.Versions(ctx)
		if err != nil {
			return Result{}, err
		}
		if vs.IDWith(secrets.Current) == "" {
			return Result{}, w.noValue()
		}
		act, id := decide(vs)
		if w.foreigns(vs, act, id) {
			left, err := w.leftover(ctx, act, id)
			if err != nil {
				return Result{}, err
			}
			if left {
				settled = true
				continue
			}
			return w.foreign(ctx, vs, act, id, settled)
		}
		if w.o.DryRun {
			res, err := w.dryRun(ctx, vs, act, id)
			return res, w.beaten(ctx, err)
		}
		if act == rest && w.doubt != "" {
			act, id = settle, w.doubt
		}
		var (
			res   Result
			again bool
		)
		switch act {
		case settle:
			if err = w.settle(ctx, vs, id); err == nil {
				settled, again, w.doubt = true, true, ""
			}
		case takeOver:
			var j *strategies.Job
			if j, err = w.job(ctx, vs, id); err == nil {
				again, err = true, w.takeOver(ctx, j)
			}
		case finish:
			res, err = Result{Outcome: Resumed, Version: id}, w.finish(ctx, vs, id)
		case resume:
			res, err = w.resume(ctx, vs, id)
		case rest, create:
			switch {
			case w.cause != nil: // the doubt it brought is settled
				return Result{}, w.cause
			case act == rest && w.o.ResumeOnly:
				return idle(settled), nil
			}
			res, again, err = w.rotate(ctx, vs, id)
		}
		if !w.overtaken(err) && (err != nil || !again) {
			return res, w.unpromoted(ctx, w.beaten(ctx, err))
		}
	}
	return Result{}, secrets.Errorf(secrets.Conflict, "the staging labels keep changing underneath").
		WithHint("see who else rotates this secret: pawl secret versions %s", w.name)
}

// idle is the end of a run that had nothing to begin.
func idle(settled bool) Result {
	if settled {
		return Result{Outcome: Settled}
	}
	return Result{Outcome: AtRest}
}

func (w *run) noValue() error {
	return secrets.Errorf(secrets.Invalid, "the secret has no value yet").
		WithHint("store one: pawl secret put %s --value-file -", w.name)
}

// rotate makes a new value and takes it to the end. again says that the server
// refused the value's form and a fresh one may do.
func (w *run) rotate(ctx context.Context, vs secrets.Versions, id string) (res Result, again bool, err error) {
	j, err := w.job(ctx, vs, id)
	if err != nil {
		return Result{}, false, err
	}
	if err := w.do(ctx, CreateSecret, j, func(ctx context.Context) error { return w.create(ctx, j, id) }); err != nil {
		return Result{}, false, err
	}
	res, err = w.roll(ctx, j, Rotated)
	switch kind := secrets.KindOf(err); {
	case secrets.Policy(err):
		return w.refused(ctx, j, res, err)
	case err != nil && w.step == SetSecret && (kind == secrets.Denied || kind == secrets.Invalid):
		// The server said no and holds nothing of the value. Kept, it would be
		// tried again with a failed login each time.
		if aerr := w.abandon(context.WithoutCancel(ctx), j); aerr != nil {
			err = errors.Join(aerr, err)
		}
	}
	return res, false, err
}

// refused handles a password that the server's own rules turned down: the
// server holds nothing new, so the value is abandoned and, up to three times, a
// fresh one made.
func (w *run) refused(ctx context.Context, j *strategies.Job, res Result, cause error) (Result, bool, error) {
	ctx = context.WithoutCancel(ctx)
	w.fresh++
	if err := w.abandon(ctx, j); err != nil {
		return res, false, errors.Join(err, cause)
	}
	if w.fresh < maxFresh {
		w.note("the server's password rules refuse this value; making another")
		return res, true, nil
	}
	return res, false, secrets.Prefixed(cause, "%d generated passwords in a row", w.fresh).
		WithHint("adapt password: in the configuration to the server's rules")
}

// resume finishes a rotation whose value may have reached the server.
func (w *run) resume(ctx context.Context, vs secrets.Versions, id string) (Result, error) {
	j, err := w.job(ctx, vs, id)
	if err != nil {
		return Result{}, err
	}
	j.Resumed = true
	w.step = CreateSecret
	w.note("resuming an interrupted rotation")
	want, err := w.steps.Adapt(j)
	if err != nil {
		return Result{}, err
	}
	if !want.Equal(j.Pending) {
		w.note("AWSCURRENT was edited meanwhile; carrying the pending password over to its new fields")
		if j.VersionID, err = w.v.PutPending(ctx, "", want); err != nil {
			return Result{}, err
		}
		j.Pending = want
	}
	res, err := w.roll(ctx, j, Resumed)
	if secrets.Policy(err) {
		// Not retried with a fresh value in this run: the labels are settled and
		// the next one starts at rest.
		_, _, err = w.refused(ctx, j, res, err)
		if err == nil {
			err = secrets.Errorf(secrets.Transient, "the server's password rules refused the pending value; it was dropped").
				WithHint("run the rotation again")
		}
	}
	return res, err
}

// roll takes a durable pending value through set, test and finish.
func (w *run) roll(ctx context.Context, j *strategies.Job, as Outcome) (Result, error) {
	res := Result{Outcome: as, Version: j.VersionID}
	if ctx.Err() != nil {
		return res, secrets.Errorf(secrets.Transient, "stopped before the password was set: %w", context.Cause(ctx))
	}
	ctx = context.WithoutCancel(ctx)
	before := w.r.Clock.Now()
	if err := w.do(ctx, SetSecret, j, func(ctx context.Context) error { return w.set(ctx, j) }); err != nil {
		return res, err
	}
	err := w.do(ctx, TestSecret, j, func(ctx context.Context) error { return w.steps.Test(ctx, j) })
	if err != nil {
		if err = w.failedTest(ctx, j, err); err != nil {
			return res, err
		}
	}
	if err := w.finishPending(ctx, j); err != nil {
		return res, err
	}
	if !w.steps.Holds(j) {
		res.Gap = w.r.Clock.Since(before)
	}
	return res, nil
}

// do runs one step within its time-out and reports it.
func (w *run) do(ctx context.Context, step string, j *strategies.Job, f func(context.Context) error) error {
	limit := w.r.limit()
	if step == TestSecret {
		limit = w.steps.TestTimeout(limit)
	}
	return w.within(ctx, limit, step, &j.VersionID, f)
}

// within is do by a limit of its own. The version may get its id while the step
// runs.
func (w *run) within(ctx context.Context, limit time.Duration, step string, version *string, f func(context.Context) error) error {
	w.step = step
	w.report(Event{Step: step, Version: *version})
	start := w.r.Clock.Now()
	ctx, cancel := w.bounded(ctx, limit)
	defer cancel()
	if err := f(ctx); err != nil {
		return secrets.At(w.ifLost(ctx, err), w.name, step, "")
	}
	w.report(Event{Step: step, Version: *version, Done: true, Took: w.r.Clock.Since(start)})
	return nil
}

func (w *run) note(text string) { w.report(Event{Step: w.step, Note: text}) }

func (w *run) gaveUp(version, note string) {
	w.report(Event{Step: w.step, Version: version, Abandoned: version, Note: note})
}

func (w *run) report(e Event) {
	if w.o.Report != nil {
		e.Time, e.Secret = w.r.Clock.Now(), w.name
		w.o.Report(e)
	}
}
