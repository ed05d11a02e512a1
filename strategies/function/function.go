// Package function calls custom rotation functions: somebody else's code that
// does the four steps of a rotation. It may be an AWS Lambda function, an HTTP
// endpoint, or a program on this machine. All get the event that AWS Secrets
// Manager sends to a rotation function.
package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
)

// Event is what a function is told.
// Source: AWS Secrets Manager user guide, "Lambda rotation functions".
type Event struct {
	Step               string
	SecretID           string `json:"SecretId"` // the ARN
	ClientRequestToken string // the id of the version to rotate to
	RotationToken      string `json:",omitempty"`
}

// Caller calls one function. An error says what the function said, in no more
// than a line, and nothing of what it was given.
//
// Errors: Transient where another try may help (throttled, no connection, the
// function's time ran out, it was killed, or it says so itself by an error type
// that ends in Transient, Timeout or Throttling…); Unknown where the connection
// broke after the function had been told, so that nobody knows what it did;
// Invalid where the function is not there or answers what can't be read, and for
// ValueError, KeyError and the like; Denied where calling it is not allowed, and
// for every other error of the function's own: nobody knows whether it was a
// refused login, and those must not be hammered.
type Caller interface {
	Call(ctx context.Context, e Event) error
	// Check finds out whether the function can be called, without calling it,
	// where there is a way to. Errors: as Call.
	Check(ctx context.Context) error
}

// DefaultTimeout is how long one step may take: as long as a Lambda function may
// run at most.
const DefaultTimeout = 15 * time.Minute

// checkTimeout is how long Check may take.
const checkTimeout = 15 * time.Second

// Rotation is a rotation by a function. It is the rotator's Foreign.
type Rotation struct {
	Caller Caller
	// Limit is how long one step may take; 0 = DefaultTimeout.
	Limit time.Duration
	Clock clockwork.Clock // nil = real time
}

// Timeout is how long one step may take.
func (r *Rotation) Timeout() time.Duration {
	if r.Limit <= 0 {
		return DefaultTimeout
	}
	return r.Limit
}

func orReal(c clockwork.Clock) clockwork.Clock {
	if c == nil {
		return clockwork.NewRealClock()
	}
	return c
}

// Check makes sure that the function can be called.
func (r *Rotation) Check(ctx context.Context, secret secrets.ARN) error {
	ctx, cancel := clockwork.WithTimeout(ctx, orReal(r.Clock), min(checkTimeout, r.Timeout()))
	defer cancel()
	return r.Caller.Check(ctx)
}

// Do has the function do one step. What the function says of a failure is shown
// with everything left out that the values hold which held reads, and where they
// can't be read it is not shown.
func (r *Rotation) Do(ctx context.Context, step string, secret secrets.ARN, versionID string, held func(context.Context) ([]secrets.Value, error)) error {
	limited, cancel := clockwork.WithTimeout(ctx, orReal(r.Clock), r.Timeout())
	defer cancel()
	err := r.Caller.Call(limited, Event{Step: step, SecretID: secret.String(), ClientRequestToken: versionID})
	if err == nil {
		return nil
	}
	values, unread := held(ctx)
	if unread != nil {
		return unshown(err, unread)
	}
	var hide redactor
	for _, v := range values {
		hide.value(v)
	}
	err = hide.error(err)
	var e *secrets.Error
	if errors.As(err, &e) && e.Hint == "" && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		out := *e
		return out.WithHint("one step may take %v; look what the function waits for, or give it more time", r.Timeout())
	}
	return err
}

// unshown leaves out of an error what the function said.
func unshown(err, why error) error {
	var e *secrets.Error
	var f *failure
	if !errors.As(err, &e) || !errors.As(err, &f) {
		return err // it said nothing
	}
	out := *e
	out.Err = fmt.Errorf("%s; what it said is not shown, since values of the secret may be in it, and those can't be read: %w", f.what, why)
	return &out
}

// ended is the end of a call whose context ended.
type ended struct {
	text  string
	cause error
}

func (e *ended) Error() string { return e.text }
func (e *ended) Unwrap() error { return e.cause }

// over is the error of a call that goes on no longer because its context ended;
// nil while it has not.
func over(ctx context.Context, who string) *secrets.Error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &secrets.Error{Kind: secrets.Transient, Err: &ended{who + " did not end in time", err}}
	default:
		return &secrets.Error{Kind: secrets.Transient, Err: &ended{"stopped while " + who + " ran", err}}
	}
}
