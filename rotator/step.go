package rotator

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// steps are the names of the four steps, in their order.
var steps = []string{CreateSecret, SetSecret, TestSecret, FinishSecret}

// Step does one of the four steps of the rotation to a version, for a caller who
// drives the rotation himself and calls the steps in their order, each at least
// once: AWS Secrets Manager. The version is there and has the label AWSPENDING.
// Every step may be repeated, and so may all of them from the first; of a version
// that is AWSCURRENT already nothing is done.
//
// createSecret settles an earlier value that was abandoned, checks that the
// rotation can succeed and fills the version; a value that is there is kept.
// setSecret makes the server accept it; it asks the server whether it does so
// already only where AWSCURRENT is refused, so that a clean rotation makes no
// failed login. testSecret logs in with it, and where waiting will not cure a
// failure puts the old password back and takes AWSPENDING off, as Run does: the
// applications go on, and the rotation is over. So it is with a password that the
// server's rules refuse, and with a version whose AWSCURRENT was edited since.
// finishSecret promotes it, unless the server says that it does not accept it, and
// leaves AWSPENDING where it is, for the caller to take off.
//
// ctx may stop createSecret; the others go to their end, bounded by the time-out
// of a step.
//
// Errors: as Run; Invalid for an unknown step; Conflict for a version that has
// not AWSPENDING.
func (r *Rotator) Step(ctx context.Context, v Vault, rules secrets.RotationRules, step, versionID string, o Options) error {
	w := r.begin(v, rules, o)
	defer w.steps.Close()
	w.driven = true
	return secrets.At(w.ended(w.one(ctx, step, versionID)), w.name, w.step, "")
}

// one does one step.
func (w *run) one(ctx context.Context, step, id string) error {
	if !slices.Contains(steps, step) {
		return secrets.Errorf(secrets.Invalid, "there is no step %q", step).WithHint("the steps are %s", strings.Join(steps, ", "))
	}
	w.step = step
	if ctx.Err() != nil {
		return secrets.Errorf(secrets.Transient, "stopped before the step: %w", context.Cause(ctx))
	}
	vs, err := w.v.Versions(ctx)
	if err != nil {
		return err
	}
	v, _ := vs.Find(id)
	switch {
	case vs.IDWith(secrets.Current) == "":
		return w.noValue()
	case v.Has(secrets.Current):
		return w.replayed(ctx, vs, v)
	case !v.Has(secrets.Pending):
		return secrets.Errorf(secrets.Conflict, "version %s has not the label AWSPENDING", id).
			WithHint("begin a new rotation: aws secretsmanager rotate-secret --secret-id %s", w.name)
	case v.Empty && step != CreateSecret:
		return secrets.Errorf(secrets.Invalid, "version %s has no value yet", id).WithHint("createSecret comes first")
	}
	if step == CreateSecret {
		return w.createSecret(ctx, vs, v)
	}
	ctx = context.WithoutCancel(ctx)
	j, err := w.fitting(ctx, vs, v)
	if err != nil {
		return err
	}
	w.step = step
	switch step {
	case SetSecret:
		return w.setSecret(ctx, vs, j)
	case TestSecret:
		return w.testSecret(ctx, j)
	}
	if err := w.wasSet(ctx, j); err != nil {
		return err
	}
	return w.finishPending(ctx, j)
}

// wasSet refuses a version that the server does not accept. Whoever can invoke the
// function can leave steps out, and applications would be locked out by that.
func (w *run) wasSet(ctx context.Context, j *strategies.Job) error {
	ctx, cancel := w.bounded(ctx, w.r.limit())
	defer cancel()
	// Where the server does not answer the tests that came before count: a single
	// user's applications wait for the promotion.
	if ok, err := w.steps.Probe(ctx, j); ok || err != nil {
		return nil
	}
	return secrets.Errorf(secrets.Denied, "the server refuses the password of version %s", j.VersionID).
		WithHint("setSecret and testSecret come first")
}

// replayed does what is left of a version that is AWSCURRENT already.
func (w *run) replayed(ctx context.Context, vs secrets.Versions, v secrets.Version) error {
	f, ok := w.steps.(Finisher)
	if !ok || w.step != FinishSecret || !v.Has(secrets.Pending) {
		return nil
	}
	j, err := w.job(ctx, vs, v.ID)
	if err != nil {
		return err
	}
	return w.do(ctx, FinishSecret, j, func(ctx context.Context) error { return f.Finish(ctx, j) })
}

func (w *run) createSecret(ctx context.Context, vs secrets.Versions, v secrets.Version) error {
	if act, old := decide(vs); act == settle {
		err := w.settle(ctx, vs, old)
		if err == nil {
			vs, err = w.v.Versions(ctx)
		}
		if err != nil {
			return err
		}
		w.step = CreateSecret
	}
	if !v.Empty {
		j, err := w.fitting(ctx, vs, v)
		if err != nil || v.Has(secrets.Intent) {
			return err
		}
		return w.takeOver(ctx, j)
	}
	j, err := w.job(ctx, vs, v.ID)
	if err != nil {
		return err
	}
	return w.do(ctx, CreateSecret, j, func(ctx context.Context) error { return w.create(ctx, j, v.ID) })
}

// fitting returns the job of a version that has a value, which must fit
// AWSCURRENT: the caller's version can hold no other one. Of Pawl's own the server
// may have heard: that one is given up.
func (w *run) fitting(ctx context.Context, vs secrets.Versions, v secrets.Version) (*strategies.Job, error) {
	j, err := w.job(ctx, vs, v.ID)
	if err != nil {
		return nil, err
	}
	want, err := w.steps.Adapt(j)
	if err != nil || want.Equal(j.Pending) {
		return j, err
	}
	if !v.Has(secrets.Intent) {
		return nil, secrets.Errorf(secrets.Invalid, "version %s, which another tool made, differs from AWSCURRENT in more than its password", v.ID).
			WithHint("take AWSPENDING off it and begin a new rotation: aws secretsmanager update-secret-version-stage --secret-id %s --version-stage AWSPENDING --remove-from-version-id %s", w.name, v.ID)
	}
	j.Resumed = true
	err = secrets.Errorf(secrets.Conflict, "AWSCURRENT was edited after version %s was made from it; that version was given up", v.ID).
		WithHint("begin a new rotation: aws secretsmanager rotate-secret --secret-id %s", w.name)
	if aerr := w.abandon(context.WithoutCancel(ctx), j); aerr != nil {
		err = errors.Join(aerr, err)
	}
	return nil, err
}

func (w *run) setSecret(ctx context.Context, vs secrets.Versions, j *strategies.Job) error {
	if v, _ := vs.Find(j.VersionID); !v.Has(secrets.Intent) {
		if err := w.takeOver(ctx, j); err != nil {
			return err
		}
	}
	err := w.do(ctx, SetSecret, j, func(ctx context.Context) error { return w.set(ctx, j) })
	if !secrets.Policy(err) {
		return err
	}
	if aerr := w.abandon(ctx, j); aerr != nil {
		return errors.Join(aerr, err)
	}
	return secrets.Prefixed(err, "the new value was given up").
		WithHint("adapt the password's rules to the server's, and begin a new rotation: aws secretsmanager rotate-secret --secret-id %s", w.name)
}

func (w *run) testSecret(ctx context.Context, j *strategies.Job) error {
	err := w.do(ctx, TestSecret, j, func(ctx context.Context) error { return w.steps.Test(ctx, j) })
	if err == nil {
		return nil
	}
	j.Resumed = true // by an earlier step, of another process
	return w.failedTest(ctx, j, err)
}
