package rotator

import (
	"context"
	"errors"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
)

// Leased is a Vault whose claim may end under its holder: the store takes it for
// given up when it has not heard of him for a while.
//
// Of a holder who was paused meanwhile nothing more may come, neither to the store
// nor to a server. The store refuses his writes. What is to reach a server runs
// under Context, and is sent only right after Confirm; what was sent nevertheless,
// because he was paused in between, the server itself ends in time (see
// strategies.Guard). Whoever has the secret next reads from the labels how far he
// came, and asks the server.
type Leased interface {
	Vault
	// Context returns ctx for as long as the claim can be relied on: it ends, with
	// a Conflict as its cause, when that is over, and secrets.EndOf it says when that
	// will be.
	Context(ctx context.Context) context.Context
	// Confirm asks the store whether the claim is held and has it begin anew.
	// Errors: Conflict when it was lost, Transient.
	Confirm(ctx context.Context) error
}

// ErrLost, wrapped by a Conflict, says that the claim ended under the run: another
// process goes on with the rotation, or will. It says nothing of the secret, nor of
// its server.
var ErrLost = errors.New("the claim on it was lost")

// lost is an error that is ErrLost too.
type lost struct{ error }

func (lost) Is(target error) bool { return target == ErrLost }

func (l lost) Unwrap() error { return l.error }

// bounded returns ctx for at most limit, and for as long as the claim can be relied
// on, also where ctx outlives the wish to stop.
func (w *run) bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := clockwork.WithTimeout(ctx, w.r.Clock, limit)
	if l, ok := w.v.(Leased); ok {
		ctx = l.Context(ctx)
	}
	return ctx, cancel
}

// confirm makes sure that the secret is claimed still, right before something is
// sent to a server.
func (w *run) confirm(ctx context.Context) error {
	l, ok := w.v.(Leased)
	if !ok {
		return nil
	}
	err := l.Confirm(ctx)
	switch {
	case err == nil:
		return nil
	case secrets.KindOf(err) == secrets.Conflict:
		w.gone = err
		return w.ifLost(ctx, err)
	}
	// Nothing was sent, and what kept the store from answering is no fault of the
	// server's that the secret is for.
	return secrets.Errorf(secrets.Transient, "it can't be made sure that the secret is claimed still: %v", err)
}

// ifLost makes of an error the Conflict that it is where the claim has ended:
// whatever a step says of a server when its time was up, or when another rotator
// is at it already, nothing may be decided from that.
func (w *run) ifLost(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ErrLost) || !w.isLost(ctx) {
		return err
	}
	e := secrets.Prefixed(w.gone, "another process goes on with it, since %v", ErrLost)
	e.Kind, e.Err = secrets.Conflict, lost{e.Err}
	if e.Hint == "" {
		e.Hint = "nothing is lost, and nothing is to be done; if it happens often, look whether this machine stands still at times, or the store answers late"
	}
	return e
}

// isLost reports whether the claim has ended: by a context that bounded made, or by
// what was found out before.
func (w *run) isLost(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		if cause := context.Cause(ctx); w.gone == nil && secrets.KindOf(cause) == secrets.Conflict {
			w.gone = cause
		}
	default:
	}
	return w.gone != nil
}

// ended is ifLost for the end of a run.
func (w *run) ended(err error) error {
	if l, ok := w.v.(Leased); ok {
		return w.ifLost(l.Context(context.Background()), err)
	}
	return err
}
