package rotator

import (
	"context"
	"errors"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// finishPending promotes the pending version and does the follow-ups. AWSPENDING
// is taken off, unless whoever drives the steps does that.
func (w *run) finishPending(ctx context.Context, j *strategies.Job) error {
	return w.do(ctx, FinishSecret, j, func(ctx context.Context) error {
		f, followUps := w.steps.(Finisher)
		keep := followUps || w.driven
		err := w.promote(ctx, j, keep)
		if errors.Is(err, ErrGivenUp) {
			err = w.stand(ctx, j, j.VersionID)
		} else {
			err = w.outrun(j.VersionID, err)
		}
		if err != nil || !followUps {
			return err
		}
		if err := f.Finish(ctx, j); err != nil || w.driven {
			return err
		}
		return w.v.MoveLabel(ctx, secrets.Pending, "")
	})
}

// finish does what is left of a version that is AWSCURRENT and still has
// AWSPENDING.
func (w *run) finish(ctx context.Context, vs secrets.Versions, id string) error {
	j, err := w.job(ctx, vs, id)
	if err != nil {
		return err
	}
	return w.do(ctx, FinishSecret, j, func(ctx context.Context) error {
		// Only a value of Pawl's own: any other came from whoever may write the
		// secret.
		if v, _ := vs.Find(id); v.Has(secrets.Intent) {
			if err := w.accepted(ctx, j); err != nil {
				return err
			}
		}
		if f, ok := w.steps.(Finisher); ok {
			if err := f.Finish(ctx, j); err != nil {
				return err
			}
		}
		// Somebody else may have moved AWSCURRENT here (a person, AWS's own
		// function): then nothing has recorded the rotation yet. Where AWSPENDING is
		// gone, another rotator has come as far as this.
		if err := w.v.Promote(ctx, id, false); !errors.Is(err, ErrGivenUp) {
			return w.outrun(j.VersionID, err)
		}
		return nil
	})
}

// failedTest decides what becomes of a password that is set and does not pass
// the test. nil means: promote it all the same. An error of the way back is
// joined before its cause: its kind says how soon somebody must try again.
func (w *run) failedTest(ctx context.Context, j *strategies.Job, cause error) error {
	var lag *strategies.PropagationError
	switch {
	case secrets.KindOf(cause) == secrets.Conflict:
		return cause // it says nothing of the password
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
	case secrets.KindOf(err) == secrets.Conflict:
		return errors.Join(err, cause) // the labels have gone on: it is not ours any more
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
		return w.outrun(j.VersionID, err)
	}
	if err := w.stale(ctx, j); err != nil {
		return w.outrun(j.VersionID, err)
	}
	if err := w.restore(ctx, j); err != nil {
		return err
	}
	w.gaveUp(j.VersionID, "the new value is given up; the server accepts AWSCURRENT")
	return nil
}

// restore puts AWSCURRENT's password back and moves the intent there. Errors:
// Conflict when AWSCURRENT has become another version meanwhile.
func (w *run) restore(ctx context.Context, j *strategies.Job) error {
	step := w.step
	defer func() { w.step = step }()
	rctx, cancel := w.bounded(ctx, w.r.limit())
	defer cancel()
	failed := w.ifLost(rctx, w.steps.Restore(rctx, j))
	for {
		// Also after a failure: who knows whether the server has heard.
		vs, err := w.v.Versions(ctx)
		if err != nil {
			return errors.Join(failed, err)
		}
		current, pending := vs.IDWith(secrets.Current), vs.IDWith(secrets.Pending)
		intent, _ := vs.With(secrets.Intent)
		switch {
		case current == j.VersionID && w.current != j.VersionID && (pending == "" || pending == j.VersionID):
			if err := w.stand(rctx, j, w.current); err != nil {
				return err
			}
			return w.outrun(j.VersionID, secrets.Errorf(secrets.Conflict, "another rotator promoted version %s while it was given up here", j.VersionID).
				WithHint("see who else rotates this secret: pawl secret versions %s", w.name))
		case failed != nil:
			return failed
		case current != w.current:
			err = secrets.Errorf(secrets.Conflict, "AWSCURRENT was moved while the password before was put back")
		case intent.ID == j.VersionID && intent.ID != current:
			err = w.v.MoveLabel(ctx, secrets.Intent, current)
			if err == nil && w.unfenced {
				continue // this took a label that a promotion in between relies on
			}
		case intent.Has(secrets.Pending):
			// That one's password may have been set before this one was put back.
			err = secrets.Errorf(secrets.Conflict, "another rotation began while the password before was put back")
		}
		return w.outrun(w.current, err)
	}
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
	switch v, _ := vs.Find(id); {
	case err == nil && v.Has(secrets.Intent) && !v.Has(secrets.Current) && !v.Has(secrets.Previous):
		w.gaveUp(id, "the server accepts AWSCURRENT; the abandoned value is done with")
	case secrets.Policy(err) && w.driven:
		return secrets.Prefixed(err, "the server holds the abandoned version %s and does not take AWSCURRENT's password", id).
			WithHint("make that one AWSCURRENT: aws secretsmanager update-secret-version-stage --secret-id %s --version-stage AWSCURRENT --move-to-version-id %s --remove-from-version-id %s", w.name, id, w.current)
	case secrets.Policy(err):
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
