package rotator

import (
	"context"
	"errors"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
)

// unpromoted ends a run that has set a single user's password and may not make its
// version AWSCURRENT: AWS has refused that, which no waiting cures, and until a
// person grants the right applications would be locked out. The old password is
// put back. The version stays pending, so that the next run sets it again; err is
// the run's, also where AWSCURRENT works again.
func (w *run) unpromoted(ctx context.Context, err error) error {
	j := w.latest
	if err == nil || !w.unfenced || j == nil || w.step != FinishSecret || secrets.KindOf(err) != secrets.Denied || w.steps.Holds(j) {
		return err
	}
	ctx, cancel := clockwork.WithTimeout(context.WithoutCancel(ctx), w.r.Clock, w.r.limit())
	defer cancel()
	pending := func(vs secrets.Versions) bool {
		return vs.IDWith(secrets.Current) == w.current && w.current != j.VersionID && vs.IDWith(secrets.Pending) == j.VersionID
	}
	if vs, lerr := w.v.Versions(ctx); lerr != nil || !pending(vs) {
		return err
	}
	w.note("the new version may not be made AWSCURRENT; putting the old password back: " + err.Error())
	back := w.steps.Restore(ctx, j)
	vs, lerr := w.v.Versions(ctx)
	if lerr == nil && vs.IDWith(secrets.Current) == j.VersionID {
		j.Resumed = true // another rotator may do what this one may not
		return errors.Join(w.steps.Set(ctx, j), err)
	}
	if back != nil {
		return errors.Join(err, back)
	}
	return err
}
