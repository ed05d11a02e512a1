package rotator

import (
	"context"
	"errors"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// Two rotators, one version. Where a claim keeps nobody out (Unfenced), two
// rotators may take the same version through its steps at the same time. As long
// as both agree they do the same, and whoever comes second finds it done. They
// may disagree: one passes the test and promotes the version, the other fails it,
// gives the version up and puts the old password back. No order of the two may
// end with an AWSCURRENT that the server refuses. It is closed from both sides:
//
//   - Who gives up takes AWSPENDING off, then puts the password back, then reads
//     the labels: restore. Is the version AWSCURRENT by then, it makes the server
//     accept it again.
//   - Who promotes moves AWSCURRENT, then finds out whether AWSPENDING is still
//     there: Promote's ErrGivenUp. Is it gone, it asks the server and makes it
//     accept the version again.
//
// Each side's write precedes its own look at the other's. So of the two at least
// one sees the other; and where only the first does, the second had been through
// before the password was put back, which the first then undoes. What it undoes,
// it undoes under the labels AWSPENDING and PAWLINTENT on AWSCURRENT: whoever
// comes next, should it die or fail, finds the table's sixth row, which asks the
// server.
//
// A rotator that dies between its last change at the server and its look at the
// labels leaves no trace. Then the next rotation's check finds AWSCURRENT refused,
// and fromPrevious goes on. One case is left to a person, who is told that
// AWSCURRENT is refused: it was paused until another had given the version up, set
// it nevertheless, and died right then.

// outrun notes of a Conflict, or of a refusal that may come of one, that the
// labels have gone on without the version whose value this run was the last to
// send, as far as it knows: another rotator may have promoted a newer one before
// that. Where a claim excludes others this can't be, and the labels tell all.
func (w *run) outrun(sent string, err error) error {
	if kind := secrets.KindOf(err); w.unfenced && err != nil && (kind == secrets.Conflict || kind == secrets.Denied) {
		w.doubt, w.cause = sent, err
	}
	return err
}

// overtaken reports whether the labels must be read again before the run may end
// by err: see outrun. A refusal is looked behind once, since each look may cost
// another failed login.
func (w *run) overtaken(err error) bool {
	if err == nil || w.doubt == "" {
		return false
	}
	switch secrets.KindOf(err) {
	case secrets.Conflict:
		return true
	case secrets.Denied:
		w.refusals++
		return w.refusals == 1
	}
	return false
}

// beaten makes a Conflict of a refusal that another rotator explains: since this
// turn read the labels it has put a version, whose password it may have set, or
// moved AWSCURRENT. What the server refused here was right until then, and nobody
// needs to look into it.
func (w *run) beaten(ctx context.Context, err error) error {
	if err == nil || !w.unfenced || w.latest == nil || secrets.KindOf(err) != secrets.Denied {
		return err
	}
	ctx, cancel := clockwork.WithTimeout(context.WithoutCancel(ctx), w.r.Clock, w.r.limit())
	defer cancel()
	now, lerr := w.v.Versions(ctx)
	if lerr != nil {
		return err
	}
	for _, label := range []string{secrets.Current, secrets.Pending} {
		id := now.IDWith(label)
		ours := id == w.latest.VersionID && (label == secrets.Pending || w.step == TestSecret || w.step == FinishSecret)
		if id != "" && id != w.seen.IDWith(label) && !ours {
			return secrets.Errorf(secrets.Conflict, "another rotator is at it, so that a password of a moment ago is refused: %w", err)
		}
	}
	return err
}

// stale makes sure, before a password is put back, that it is still AWSCURRENT's.
// Whoever was paused (a laptop that slept, a virtual machine that was moved) may
// come days after another rotator has ended this rotation, and a superuser would
// set what nobody uses any more. Errors: Conflict.
func (w *run) stale(ctx context.Context, j *strategies.Job) error {
	if !w.unfenced {
		return nil
	}
	vs, err := w.v.Versions(ctx)
	switch current := vs.IDWith(secrets.Current); {
	case err != nil || current == w.current:
		return err
	case current == j.VersionID:
		err = secrets.Errorf(secrets.Conflict, "another rotator promoted version %s before it was given up here", j.VersionID)
	default:
		err = secrets.Errorf(secrets.Conflict, "AWSCURRENT was moved; the password before is not put back")
	}
	return err
}

// promote moves AWSCURRENT to the job's version. Errors: Conflict; ErrGivenUp.
func (w *run) promote(ctx context.Context, j *strategies.Job, keepPending bool) error {
	if err := w.v.Promote(ctx, j.VersionID, keepPending); err != nil || !keepPending || !w.unfenced {
		return err
	}
	// Taking AWSPENDING off would have told whether it was there.
	vs, err := w.v.Versions(ctx)
	if err != nil {
		return err
	}
	v, _ := vs.Find(j.VersionID)
	switch {
	case !v.Has(secrets.Current) || vs.IDWith(secrets.Pending) != "" && !v.Has(secrets.Pending):
		return secrets.Errorf(secrets.Conflict, "its staging labels were moved by somebody else")
	case !v.Has(secrets.Pending):
		return secrets.Errorf(secrets.Conflict, "version %s is AWSCURRENT, but AWSPENDING was off it already: %w", v.ID, ErrGivenUp)
	}
	return nil
}

// stand makes the server accept a version that was promoted although somebody had
// given it up. j.Current is what it was made from; sent is the version whose value
// this run was the last to send.
func (w *run) stand(ctx context.Context, j *strategies.Job, sent string) error {
	ok, err := w.steps.Probe(ctx, j)
	if ok && err == nil {
		return nil
	}
	w.note("another rotator has given this version up meanwhile; making sure the server accepts it")
	for _, label := range []string{secrets.Intent, secrets.Pending} { // the sixth row asks the server only where it finds both
		if lerr := w.v.MoveLabel(ctx, label, j.VersionID); lerr != nil {
			return w.outrun(sent, errors.Join(lerr, err))
		}
	}
	if err == nil {
		err = w.set(ctx, j)
	}
	if err == nil {
		sent, err = j.VersionID, w.v.Promote(ctx, j.VersionID, w.driven)
	}
	if errors.Is(err, ErrGivenUp) {
		return nil // whoever took the label off has found the server to accept it
	}
	return w.outrun(sent, err)
}

// set makes the server accept the pending value, which it may know already where
// somebody else may have been here: it is asked only when it says no, so that a
// clean rotation makes no failed login.
func (w *run) set(ctx context.Context, j *strategies.Job) error {
	err := w.steps.Set(ctx, j)
	no := secrets.Policy(err) || err != nil && secrets.KindOf(err) == secrets.Denied && !secrets.Authenticated(err)
	if !no || !w.unfenced && !w.driven {
		return err
	}
	w.steps.Close() // what it opened was not good enough
	if !j.Resumed {
		j.Resumed = true
		return w.steps.Set(ctx, j)
	}
	// It was asked before; another rotator may have set the value just then.
	if ok, perr := w.steps.Probe(ctx, j); perr != nil || !ok {
		return err
	}
	return nil
}

// accepted makes sure that the server accepts a version that is AWSCURRENT while
// a rotation's labels are still on it. A person may have moved AWSCURRENT there
// before its password was set; or two rotators disagreed.
func (w *run) accepted(ctx context.Context, j *strategies.Job) error {
	ok, err := w.steps.Probe(ctx, j)
	if err != nil || ok {
		return err
	}
	refused := secrets.Errorf(secrets.Denied, "the server refuses the AWSCURRENT credential, and AWSPREVIOUS is no way to set it").
		WithHint("set the password by hand and store it: pawl secret put %s --value-file -", w.name)
	from := *j
	if from.Current, err = j.Previous(ctx); err != nil {
		return err
	}
	if from.Current.IsZero() {
		return refused
	}
	if want, err := w.steps.Adapt(&from); err != nil || !want.Equal(j.Pending) {
		return refused
	}
	w.note("the server does not accept AWSCURRENT; setting its password by AWSPREVIOUS")
	return w.steps.Set(ctx, &from)
}
