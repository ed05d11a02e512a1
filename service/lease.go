package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// How claims end that a store can't see end with their process.
const (
	// LeaseTime is how long a claim lasts, by the store's own clock, from the last
	// time that the store heard of its holder: so long a dead one keeps others out.
	LeaseTime = 15 * time.Second
	// LeaseGuard is how long before its end a claim is not relied on any more: what
	// was sent to a server until then has come to its end there. Twice as long is
	// less than LeaseTime, because a server gives a session that long to send
	// something, and again that long to do it.
	LeaseGuard = 7 * time.Second
)

// Lease is the right to rotate one secret, as a store gives it. A store whose
// claims end with their process gives Unending ones.
type Lease interface {
	// Context returns ctx for as long as the claim can be relied on: it ends, with
	// a Conflict as its cause, when the claim is lost, and secrets.EndOf it is never
	// later than LeaseGuard before the claim would end; that moves on as the claim
	// is renewed.
	Context(ctx context.Context) context.Context
	// Confirm asks the store whether the claim is held, and has it begin anew: when
	// it returns nil, LeaseTime begins. Errors: Conflict when it was lost.
	Confirm(ctx context.Context) error
	// Find reads the claimed secret as it is now, also what another process wrote a
	// moment ago: a rotation function's requests go to any of them.
	Find(ctx context.Context) (*Secret, error)
	// Update is Store.Update of the claimed secret, which in the same transaction
	// makes sure that the claim is held, and has it begin anew. Errors: Conflict
	// when it was lost; then nothing is written, and change may not have run.
	Update(ctx context.Context, change func(*Secret) (Sealed, error)) (*Secret, error)
	// Release gives the claim up. Further calls do nothing.
	Release()
}

// Unending is the Lease of a claim that ends with release or with the process.
func Unending(s Store, arn secrets.ARN, release func()) Lease { return unending{s, arn, release} }

type unending struct {
	store   Store
	arn     secrets.ARN
	release func()
}

func (unending) Context(ctx context.Context) context.Context { return ctx }
func (unending) Confirm(context.Context) error               { return nil }
func (u unending) Release()                                  { u.release() }

func (u unending) Find(ctx context.Context) (*Secret, error) {
	return u.store.Find(ctx, secrets.ID{ARN: u.arn})
}

func (u unending) Update(ctx context.Context, change func(*Secret) (Sealed, error)) (*Secret, error) {
	return u.store.Update(ctx, u.arn, change)
}

// Held, wrapped by the Conflict of a Lock, tells of the claim that is in the way
// and may be nobody's any more: its holder may be dead.
type Held struct {
	By    string        // who he said he is: host, process and when it began
	Epoch int64         // of the claim: another claim of the secret has another
	Beat  int64         // rises whenever the store hears of the holder
	Left  time.Duration // until the claim ends, if he stays silent
}

func (h *Held) Error() string {
	return fmt.Sprintf("another process (%s) is rotating it, or died doing so", h.By)
}

// HeldBy returns what a Conflict tells of the claim in the way; nil = nothing.
func HeldBy(err error) *Held {
	var h *Held
	errors.As(err, &h)
	return h
}

// Same reports whether both tell of one claim whose holder was not heard of in
// between.
func (h *Held) Same(before *Held) bool {
	return h != nil && before != nil && h.Epoch == before.Epoch && h.Beat == before.Beat
}
