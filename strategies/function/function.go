// Package function calls custom rotation functions: somebody else's code that
// does the four steps of a rotation. It may be an AWS Lambda function, an HTTP
// endpoint, or a program on this machine. All get the event that AWS Secrets
// Manager sends to a rotation function.
package function

import (
	"context"
	"time"

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
// that ends in Transient, Timeout or Throttling…); Invalid where the function is
// not there or answers what can't be read, and for ValueError, KeyError and the
// like; Denied where calling it is not allowed, and for every other error of the
// function's own: nobody knows whether it was a refused login, and those must
// not be hammered.
type Caller interface {
	Call(ctx context.Context, e Event) error
	// Check finds out whether the function can be called, without calling it,
	// where there is a way to. Errors: as Call.
	Check(ctx context.Context) error
}

// DefaultTimeout is how long one step may take: as long as a Lambda function may
// run at most.
const DefaultTimeout = 15 * time.Minute

// Rotation is a rotation by a function. It is the rotator's Foreign.
type Rotation struct {
	Caller Caller
	// Limit is how long one step may take; 0 = DefaultTimeout.
	Limit time.Duration
}

// Timeout is how long one step may take.
func (r *Rotation) Timeout() time.Duration { panic("not there yet") }

// Check makes sure that the function can be called.
func (r *Rotation) Check(ctx context.Context, secret secrets.ARN) error { panic("not there yet") }

// Do has the function do one step. What the function says of a failure is shown
// with everything left out that values hold.
func (r *Rotation) Do(ctx context.Context, step string, secret secrets.ARN, versionID string, values []secrets.Value) error {
	panic("not there yet")
}
