package rotator

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
)

// Foreign is a rotation whose four steps somebody else's code does: a custom
// rotation function. It makes the values and moves the labels itself, through
// the Secrets Manager API, while Pawl has the secret claimed.
type Foreign interface {
	// Check makes sure that the function can be called, as far as that can be
	// found out without calling it. Errors: Invalid, Denied, Transient.
	Check(ctx context.Context, secret secrets.ARN) error
	// Do has the function do one step, for the version that is being rotated to.
	// held reads what the secret holds by now, what the function has just put
	// included: it is asked after a failure, and only so that no value is repeated
	// from what the function says of itself. Errors: any kind; Transient and
	// Unknown are worth another try of the whole rotation.
	Do(ctx context.Context, step string, secret secrets.ARN, versionID string, held func(context.Context) ([]secrets.Value, error)) error
	// Timeout is how long one step may take.
	Timeout() time.Duration
}

// Stager is a Vault that can stage a version which has no value yet, for a
// Foreign to fill.
type Stager interface {
	// Stage makes an empty version with the label AWSPENDING and returns its id.
	// Conflict where AWSPENDING is on a version that is not AWSCURRENT.
	Stage(ctx context.Context) (versionID string, err error)
	// StageCopy makes one that has AWSCURRENT's value, for a rehearsal. Its id
	// begins with secrets.CopyPrefix.
	StageCopy(ctx context.Context) (versionID string, err error)
}

// foreigns reports whether it is the custom function's turn. What Pawl's own
// strategies have begun, under earlier rules, they finish: a value that may have
// reached a server is theirs to settle.
func (w *run) foreigns(vs secrets.Versions, act action, id string) bool {
	if w.rules.Strategy != secrets.Function || act == settle || act == resume {
		return false
	}
	v, _ := vs.Find(id)
	return act != finish || !v.Has(secrets.Intent)
}

// foreign has the function do a rotation, or go on with the one under way: from
// its first step, as AWS does, whose steps can all be repeated.
func (w *run) foreign(ctx context.Context, vs secrets.Versions, act action, id string, settled bool) (Result, error) {
	if act == finish {
		if w.o.DryRun {
			return Result{Outcome: Pending, Version: id}, nil
		}
		return Result{Outcome: Resumed, Version: id}, w.record(ctx, id)
	}
	if act == rest && w.o.ResumeOnly && !w.o.DryRun {
		return idle(settled), nil
	}
	w.step = CreateSecret
	f, err := w.function()
	if err != nil {
		return Result{}, err
	}
	stager, ok := w.v.(Stager)
	if !ok {
		return Result{}, secrets.Errorf(secrets.Invalid, "in this store Pawl calls no custom rotation functions").
			WithHint("with AWS Secrets Manager as the store it is AWS that calls them: aws secretsmanager rotate-secret --secret-id %s", w.name)
	}
	if w.o.DryRun && w.o.Rehearse && act == rest {
		return Result{Outcome: Checked}, w.rehearse(ctx, f, stager, vs)
	}
	res := Result{Outcome: Rotated, Version: id}
	if act == takeOver {
		res.Outcome = Resumed
	}
	if w.o.DryRun {
		if res.Outcome = Checked; act == takeOver {
			res.Outcome = Pending
		}
		return res, w.within(ctx, w.r.limit(), CreateSecret, &res.Version, func(ctx context.Context) error {
			return f.Check(ctx, w.v.ARN())
		})
	}
	begun := vs.IDWith(secrets.Current)
	for _, step := range steps {
		if ctx.Err() != nil {
			return res, secrets.Errorf(secrets.Transient, "stopped before the next step: %w", context.Cause(ctx))
		}
		if step == SetSecret {
			ctx = context.WithoutCancel(ctx)
		}
		err := w.within(ctx, f.Timeout(), step, &res.Version, func(ctx context.Context) (err error) {
			if step == CreateSecret {
				if res.Version, err = w.stage(ctx, f, stager, vs, res.Version); err != nil {
					return err
				}
			}
			return w.call(ctx, f, step, begun, res.Version)
		})
		if err != nil {
			return res, err
		}
	}
	return res, w.record(ctx, res.Version)
}

// function finds the function that the rules name.
func (w *run) function() (Foreign, error) {
	if w.r.Foreign == nil {
		return nil, secrets.Errorf(secrets.Invalid, "there is no custom rotation function %q here", w.rules.Function).
			WithHint("name it under functions: in the configuration")
	}
	return w.r.Foreign(w.rules)
}

// stage begins a rotation: a version without a value, for the function to fill. id
// is the version that is under way already, "" for none.
func (w *run) stage(ctx context.Context, f Foreign, s Stager, vs secrets.Versions, id string) (string, error) {
	ctx, cancel := clockwork.WithTimeout(ctx, w.r.Clock, w.r.limit())
	defer cancel()
	if id == "" {
		if err := f.Check(ctx, w.v.ARN()); err != nil {
			return "", err
		}
	}
	// Everything of Pawl's own is at rest, and the label says nothing of values
	// that other code makes. Left behind, it would have Pawl's own steps settle
	// them one day.
	if vs.IDWith(secrets.Intent) != "" {
		if err := w.v.MoveLabel(ctx, secrets.Intent, ""); err != nil {
			return id, err
		}
	}
	if id != "" {
		return id, nil
	}
	return s.Stage(ctx)
}

// call has the function do one step, and looks at what became of the labels:
// begun was AWSCURRENT when the function's rotation began. A failure that comes of
// somebody's having moved them is his, not the function's.
func (w *run) call(ctx context.Context, f Foreign, step, begun, id string) error {
	vs, err := w.v.Versions(ctx)
	if err != nil {
		return err
	}
	if err := w.undisturbed(vs, begun, id); err != nil {
		return err
	}
	if err := w.confirm(ctx); err != nil {
		return err
	}
	failed := f.Do(ctx, step, w.v.ARN(), id, func(ctx context.Context) ([]secrets.Value, error) { return w.held(ctx, vs, id) })
	if w.isLost(ctx) {
		return w.ifLost(ctx, cmp.Or(failed, ErrLost)) // whoever has it now tells what became of the version
	}
	// The step's time may be over.
	ctx, cancel := clockwork.WithTimeout(context.WithoutCancel(ctx), w.r.Clock, w.r.limit())
	defer cancel()
	if vs, err = w.v.Versions(ctx); err != nil {
		return errors.Join(failed, err)
	}
	moved := vs.IDWith(secrets.Current) == id
	switch err := w.undisturbed(vs, begun, id); {
	case err != nil:
		return errors.Join(err, failed)
	case step == FinishSecret && failed == nil && !moved:
		return secrets.Errorf(secrets.Invalid, "finishSecret returned, but AWSCURRENT did not move").
			WithHint("the function must move AWSCURRENT to the version ClientRequestToken (%s) by UpdateSecretVersionStage; see its own log", id)
	case step == FinishSecret && failed != nil && moved:
		w.note("warning: AWSCURRENT has moved, and yet the function says: " + failed.Error())
		return nil
	}
	return failed
}

// undisturbed makes sure that the version is still being rotated to, or is
// AWSCURRENT by now. Errors: Conflict.
func (w *run) undisturbed(vs secrets.Versions, begun, id string) error {
	current := vs.IDWith(secrets.Current)
	switch {
	case current == id:
		return nil
	case vs.IDWith(secrets.Pending) != id:
		w.gaveUp(id, "AWSPENDING was taken off the version before the function had promoted it")
		return secrets.Errorf(secrets.Conflict, "AWSPENDING was taken off version %s while the function was at work", id).
			WithHint("see who else changes this secret: pawl secret versions %s", w.name)
	case current != begun:
		return secrets.Errorf(secrets.Conflict, "AWSCURRENT was moved to version %s while the function was at work", current).
			WithHint("see who else changes this secret: pawl secret versions %s", w.name)
	}
	return nil
}

// held are the values that the secret had before a step, as far as they concern this
// rotation, and those that it has now.
func (w *run) held(ctx context.Context, before secrets.Versions, id string) ([]secrets.Value, error) {
	// The step's time may be over.
	ctx, cancel := clockwork.WithTimeout(context.WithoutCancel(ctx), w.r.Clock, w.r.limit())
	defer cancel()
	now, err := w.v.Versions(ctx)
	if err != nil {
		return nil, err
	}
	var out []secrets.Value
	read := map[string]bool{}
	for _, id := range []string{
		id, before.IDWith(secrets.Current), before.IDWith(secrets.Previous),
		now.IDWith(secrets.Current), now.IDWith(secrets.Previous), now.IDWith(secrets.Pending),
	} {
		if read[id] {
			continue
		}
		read[id] = true
		v, err := w.value(ctx, id)
		if err != nil {
			return nil, err
		}
		if !v.IsZero() {
			out = append(out, v)
		}
	}
	return out, nil
}

// record notes that a rotation is complete whose AWSCURRENT the function has
// moved, and takes AWSPENDING off where that is still there.
func (w *run) record(ctx context.Context, id string) error {
	w.step = FinishSecret
	ctx, cancel := clockwork.WithTimeout(ctx, w.r.Clock, w.r.limit())
	defer cancel()
	return w.v.Promote(ctx, id, false)
}
