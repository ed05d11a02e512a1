package rotator

import (
	"context"
	"errors"
	"strings"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
)

// rehearse has the function do testSecret on a copy of AWSCURRENT, as AWS does
// for RotateSecret without RotateImmediately. However that ends, the copy loses
// its label.
// Source: AWS Secrets Manager API reference, RotateSecret, RotateImmediately.
func (w *run) rehearse(ctx context.Context, f Foreign, s Stager, vs secrets.Versions) error {
	var id string
	return w.within(ctx, f.Timeout(), TestSecret, &id, func(ctx context.Context) (err error) {
		if err := f.Check(ctx, w.v.ARN()); err != nil {
			return err
		}
		if id, err = s.StageCopy(ctx); err != nil {
			return err
		}
		if err := w.confirm(ctx); err != nil {
			return err
		}
		failed := f.Do(ctx, TestSecret, w.v.ARN(), id, func(ctx context.Context) ([]secrets.Value, error) { return w.held(ctx, vs, id) })
		// The step's time may be over.
		ctx, cancel := clockwork.WithTimeout(context.WithoutCancel(ctx), w.r.Clock, w.r.limit())
		defer cancel()
		return errors.Join(failed, w.dropCopy(ctx, id))
	})
}

// dropCopy takes AWSPENDING off a copy that still has it.
func (w *run) dropCopy(ctx context.Context, id string) error {
	vs, err := w.v.Versions(ctx)
	if err != nil || vs.IDWith(secrets.Pending) != id {
		return err
	}
	return w.v.MoveLabel(ctx, secrets.Pending, "")
}

// leftover drops a copy that a rehearsal left which did not come to its end, and
// reports whether there was one.
func (w *run) leftover(ctx context.Context, act action, id string) (bool, error) {
	if act != takeOver || w.o.DryRun || !strings.HasPrefix(id, secrets.CopyPrefix) {
		return false, nil
	}
	w.step = TestSecret
	w.note("dropping the copy of AWSCURRENT that an interrupted test left")
	return true, w.dropCopy(ctx, id)
}
