package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// saveTimeout bounds the saving of a failure's record after the run.
const saveTimeout = 5 * time.Second

// maxMoved is how often UntilDone starts over because labels were moved
// underneath.
const maxMoved = 2

// Runner rotates one secret at a time: for the daemon, the command line and the
// API alike. It is safe for use by many goroutines. Plan and Rotator are
// required.
type Runner struct {
	Plan    Plan
	Rotator *rotator.Rotator
	Random  func() float64 // in [0, 1), safe for many goroutines; nil = math/rand
	Log     *slog.Logger   // nil = slog.Default()
	// Listener, where set, hears how each run begins and ends; teller says of what.
	Listener events.Listener
	// Notify, where set, is told by UntilDone of every failed try that another
	// one follows, and how long until then.
	Notify func(id string, err error, wait time.Duration)
	// Waiting, where set, is told by UntilDone of a claim that is in the way and
	// may be a dead process's: at first, and each time that it was looked at again.
	Waiting func(id string, h *service.Held)
}

func (r *Runner) random() float64 {
	if r.Random != nil {
		return r.Random()
	}
	return rand.Float64()
}

func (r *Runner) log() *slog.Logger {
	if r.Log != nil {
		return r.Log
	}
	return slog.Default()
}

// Once takes the secret, meant by name or ARN, through one run: it claims it,
// runs the rotator, keeps a record of a failure, and releases it. Saving and
// releasing happen also when ctx has ended. It waits for nothing and minds
// neither window nor next try. A dry run keeps no record; nor does a run that
// ended by a Conflict or because ctx was cancelled: neither says anything about
// the secret.
//
// Errors are the rotator's, and those of claiming. A strategy that panics gives
// an Unknown.
func (r *Runner) Once(ctx context.Context, id string, o rotator.Options) (rotator.Result, error) {
	a := r.once(ctx, id, func(secrets.Rotation) (rotator.Options, bool) { return o, true })
	return a.result, a.err
}

// attempt is what became of one run.
type attempt struct {
	result  rotator.Result
	err     error
	claimed bool
	skipped bool      // there was nothing to do any more once the secret was claimed
	next    time.Time // after a failure: not before
	saved   bool      // next is in the store
}

// once is Once; decide says, knowing the rotation as it is at the claim, what
// to run, if anything.
func (r *Runner) once(ctx context.Context, id string, decide func(secrets.Rotation) (rotator.Options, bool)) (a attempt) {
	claim, err := r.Plan.Claim(ctx, id)
	if err != nil {
		return attempt{err: err}
	}
	defer claim.Release()
	a.claimed = true
	rotation := claim.Rotation()
	o, ok := decide(rotation)
	if !ok {
		a.skipped = true
		return a
	}
	tell, o := r.teller(ctx, claim, rotation.Rules, o)
	defer func() { tell.ended(a) }() // while it is claimed: events of one secret come in order
	a.result, a.err = r.run(ctx, claim, rotation.Rules, o)

	record := secrets.Attempt{}
	switch {
	case o.DryRun, secrets.KindOf(a.err) == secrets.Conflict && a.err != nil, cancelled(ctx, a.err):
		return a
	case a.err != nil:
		record = failed(rotation.Attempt, a.err, r.Rotator.Clock.Now(), r.random())
		a.next = record.NextTry
	case rotation.Attempt.Tries == 0, a.result.Outcome == rotator.Rotated, a.result.Outcome == rotator.Resumed:
		return a // nothing to clear, or cleared by the promotion
	}
	// Real time on purpose: this is about a store that hangs, not about when.
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	err = claim.Save(sctx, record)
	switch {
	case err == nil:
	case secrets.KindOf(err) == secrets.Conflict:
		// Whoever has it now may be why this run was refused something.
		a.err, a.next = errors.Join(err, a.err), time.Time{}
		return a
	default:
		r.log().Warn("the record of the attempt could not be saved", "secret", claim.ARN().Name, "error", oneLine(err))
		return a
	}
	a.saved = true
	return a
}

// run is the rotator's Run; a panic becomes an error that shows no value.
func (r *Runner) run(ctx context.Context, claim Claim, rules secrets.RotationRules, o rotator.Options) (res rotator.Result, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		text := secrets.Thrown(p)
		r.log().Error("panic in a rotation", "secret", claim.ARN().Name, "panic", text, "stack", string(debug.Stack()))
		err = secrets.Errorf(secrets.Unknown, "a bug stopped the rotation: panic: %s", text).
			WithHint("it will be resumed from the labels; please report it with the stack in the log")
		err = secrets.At(err, claim.ARN().Name, "", "")
	}()
	return r.Rotator.Run(ctx, claim, rules, o)
}

// cancelled reports whether err is only the answer to ctx's being cancelled.
func cancelled(ctx context.Context, err error) bool {
	return errors.Is(ctx.Err(), context.Canceled) && cutOff(ctx, err)
}

// cutOff reports whether err is only the answer to ctx's end.
func cutOff(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// UntilDone is Once again and again until it succeeds, an error comes that
// waiting won't cure, or ctx ends. Transient and Unknown are tried again with
// FullJitter's waits, outside of the claim. Labels that were moved underneath
// are read anew twice at most; a secret that another process is rotating is its
// Conflict at once, but where that process may be dead: then as soon as it is heard
// of, and else the claim is waited for, which takes service.LeaseTime at most.
//
// The error keeps the kind of what really went wrong: when time runs out it is
// the last one that was more than "time ran out".
func (r *Runner) UntilDone(ctx context.Context, id string, o rotator.Options) (rotator.Result, error) {
	return r.untilDone(ctx, id, func(secrets.Rotation) (rotator.Options, bool) { return o, true })
}

// DueUntilDone is UntilDone for a secret that was seen due. Where somebody else
// rotated, tried or paused it since, nothing is done: AtRest.
func (r *Runner) DueUntilDone(ctx context.Context, d service.Due, o rotator.Options) (rotator.Result, error) {
	first := true
	return r.untilDone(ctx, d.ARN.String(), func(now secrets.Rotation) (rotator.Options, bool) {
		ok := !first || stillDue(d, now, r.Rotator.Clock.Now())
		first = false
		return o, ok
	})
}

func (r *Runner) untilDone(ctx context.Context, id string, decide func(secrets.Rotation) (rotator.Options, bool)) (rotator.Result, error) {
	var (
		last         error
		tries, moved int
		final        bool
	)
	res, err := backoff.RetryNotifyWithTimerAndData(func() (rotator.Result, error) {
		a := r.inTurn(ctx, id, decide)
		switch {
		case a.skipped:
			return rotator.Result{Outcome: rotator.AtRest}, nil
		case a.err == nil:
			return a.result, nil
		case last != nil && cutOff(ctx, a.err):
			return a.result, backoff.Permanent(ctx.Err())
		}
		tries++
		last = a.err
		switch secrets.KindOf(a.err) {
		case secrets.Transient, secrets.Unknown:
			return a.result, a.err
		case secrets.Conflict:
			if moved++; a.claimed && moved <= maxMoved {
				return a.result, a.err
			}
		}
		final = true
		return a.result, backoff.Permanent(a.err)
	}, backoff.WithContext(soon(r.random), ctx), func(err error, wait time.Duration) {
		if r.Notify != nil {
			r.Notify(id, err, wait)
		}
	}, &timer{clock: r.Rotator.Clock})

	if err == nil || final {
		return res, err
	}
	why := "stopped"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why = "time ran out"
	}
	if tries > 1 {
		why += fmt.Sprintf(" after %d tries", tries)
	}
	return res, secrets.Prefixed(last, "%s", why)
}

// waitEvery is how often inTurn looks again.
const waitEvery = time.Second

// inTurn is once, after the claim of a process that may be dead has ended. It is
// his Conflict as soon as the store has heard of him, or of another one. An epoch
// and a beat that stay as they are for as long as a claim lasts would be a claim
// that does not end; nobody waits for that.
func (r *Runner) inTurn(ctx context.Context, id string, decide func(secrets.Rotation) (rotator.Options, bool)) attempt {
	clock := r.Rotator.Clock
	began := clock.Now()
	var first *service.Held
	for {
		a := r.once(ctx, id, decide)
		held := service.HeldBy(a.err)
		if a.claimed || held == nil || first != nil && !held.Same(first) || clock.Since(began) > service.LeaseTime+waitEvery {
			return a
		}
		first = held
		if r.Waiting != nil {
			r.Waiting(id, held)
		}
		// A moment after his claim ends is soon enough, and not the full second later.
		wait := clock.NewTimer(min(waitEvery, max(held.Left, 0)+waitEvery/10))
		select {
		case <-wait.Chan():
		case <-ctx.Done():
			wait.Stop()
			return a
		}
	}
}

// timer is backoff's timer by the injected clock.
type timer struct {
	clock clockwork.Clock
	t     clockwork.Timer
}

// Start begins to wait.
func (t *timer) Start(d time.Duration) { t.t = t.clock.NewTimer(d) }

// Stop ends the waiting.
func (t *timer) Stop() {
	if t.t != nil {
		t.t.Stop()
	}
}

// C fires when the wait is over.
func (t *timer) C() <-chan time.Time { return t.t.Chan() }
