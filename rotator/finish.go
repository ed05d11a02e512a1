package rotator

import (
	"context"
	"errors"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// finishPending promotes the pending version and does the follow-ups.
func (w *run) finishPending(ctx context.Context, j *strategies.Job) error {
	return w.do(ctx, FinishSecret, j, func(ctx context.Context) error {
		f, followUps := w.steps.(Finisher)
		if err := w.v.Promote(ctx, j.VersionID, followUps); err != nil || !followUps {
			return err
		}
		if err := f.Finish(ctx, j); err != nil {
			return err
		}
		return w.v.MoveLabel(ctx, secrets.Pending, "")
	})
}

// finish does the follow-ups of a version that was promoted before an
// interruption.
func (w *run) finish(ctx context.Context, vs secrets.Versions, id string) error {
	j, err := w.job(ctx, vs, id)
	if err != nil {
		return err
	}
	return w.do(ctx, FinishSecret, j, func(ctx context.Context) error {
		if f, ok := w.steps.(Finisher); ok {
			if err := f.Finish(ctx, j); err != nil {
				return err
			}
		}
		// Somebody else may have moved AWSCURRENT here (a person, AWS's own
		// function): then nothing has recorded the rotation yet.
		return w.v.Promote(ctx, id, false)
	})
}

// failedTest decides what becomes of a password that is set and does not pass
// the test. nil means: promote it all the same. An error of the way back is
// joined before its cause: its kind says how soon somebody must try again.
func (w *run) failedTest(ctx context.Context, j *strategies.Job, cause error) error {
	var lag *strategies.PropagationError
	switch {
	case errors.As(cause, &lag):
		if w.steps.Holds(j) {
			return cause // AWSCURRENT works everywhere: wait and try again
		}
		// A single user's old password is dead where the change arrived.
		// Holding on would lock applications out: go back, or else forward.
	case secrets.KindOf(cause) == secrets.Transient || secrets.KindOf(cause) == secrets.Unknown:
		return cause
	}
	w.note("the new credential fails its test; putting the old one back: " + cause.Error())
	err := w.abandon(ctx, j)
	switch {
	case err == nil:
		return cause
	case lag != nil || secrets.Policy(err):
		w.note("warning: the old password can't be put back (" + err.Error() + "); promoting the new one, which the server holds")
		// The label went with the abandoning; promotion wants it.
		if err := w.v.MoveLabel(ctx, secrets.Pending, j.VersionID); err != nil {
			return errors.Join(err, cause)
		}
		return nil
	default:
		return errors.Join(err, cause)
	}
}

// abandon drops a pending value that will not be promoted and makes sure that
// the server accepts AWSCURRENT. Stopped anywhere, it is gone on with by settle.
func (w *run) abandon(ctx context.Context, j *strategies.Job) error {
	if err := w.v.MoveLabel(ctx, secrets.Pending, ""); err != nil {
		return err
	}
	return w.restore(ctx, j)
}

// restore puts AWSCURRENT's password back and moves the intent there.
func (w *run) restore(ctx context.Context, j *strategies.Job) error {
	step := w.step
	defer func() { w.step = step }()
	rctx, cancel := clockwork.WithTimeout(ctx, w.r.Clock, w.r.limit())
	defer cancel()
	if err := w.steps.Restore(rctx, j); err != nil {
		return err
	}
	vs, err := w.v.Versions(ctx)
	if err != nil {
		return err
	}
	return w.v.MoveLabel(ctx, secrets.Intent, vs.IDWith(secrets.Current))
}

// settle ends an abandoned value that may have reached the server.
func (w *run) settle(ctx context.Context, vs secrets.Versions, id string) error {
	w.step = SetSecret
	w.note("an earlier rotation was abandoned; making sure the server accepts AWSCURRENT")
	j, err := w.job(ctx, vs, id)
	if err != nil {
		return err
	}
	j.Resumed = true
	err = w.restore(ctx, j)
	if secrets.Policy(err) {
		// There is no way back, so there is only the way forward.
		w.note("warning: the server does not take AWSCURRENT's password (" + err.Error() + "); going on with the abandoned one")
		return w.v.MoveLabel(ctx, secrets.Pending, id)
	}
	return err
}

// dryRun says what Run would do, after checking what can be checked.
func (w *run) dryRun(ctx context.Context, vs secrets.Versions, act action, id string) (Result, error) {
	j, err := w.job(ctx, vs, id)
	if err != nil {
		return Result{}, err
	}
	switch act {
	case rest, create:
		return Result{Outcome: Checked}, w.do(ctx, CreateSecret, j, func(ctx context.Context) error { return w.steps.Check(ctx, j) })
	case settle:
		return Result{Outcome: Abandon, Version: id}, nil
	case finish:
		return Result{Outcome: Pending, Version: id}, nil
	}
	w.step = SetSecret
	if _, err := w.steps.Adapt(j); err != nil {
		return Result{}, err
	}
	ok, err := w.steps.Probe(ctx, j)
	if err != nil {
		return Result{}, err
	}
	if ok {
		w.note("the server accepts the pending credential already; it would be tested and promoted")
		return Result{Outcome: Pending, Version: id}, nil
	}
	w.note("the server does not know the pending credential yet; it would be set, tested and promoted")
	return Result{Outcome: Pending, Version: id}, w.steps.Check(ctx, j)
}
