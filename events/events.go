// Package events tells what becomes of rotations: to an audit file, and to
// whoever else will want to know. An event has the name and, written as JSON,
// the shape that AWS CloudTrail has for it, so that what reads the one reads the
// other.
package events

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Name is what happened.
type Name string

// The names of events, CloudTrail's own.
// Source: AWS Secrets Manager user guide, "Log AWS Secrets Manager events with
// AWS CloudTrail".
const (
	RotationStarted   Name = "RotationStarted"
	RotationSucceeded Name = "RotationSucceeded"
	RotationFailed    Name = "RotationFailed"
	// RotationAbandoned: the version being rotated to will not become AWSCURRENT.
	// Somebody made another one current meanwhile, or the new value failed and was
	// taken back.
	RotationAbandoned     Name = "RotationAbandoned"
	TestRotationStarted   Name = "TestRotationStarted"
	TestRotationSucceeded Name = "TestRotationSucceeded"
	TestRotationFailed    Name = "TestRotationFailed"
)

// Event is one thing that happened to a secret's rotation. It holds no secret
// value.
type Event struct {
	Name    Name
	Time    time.Time
	Secret  secrets.ARN
	Version string // the version being rotated to; "" while there is none
	// Run is the same in all events of one run, and new in the next.
	Run      string
	Step     string       // of a failure: createSecret, setSecret, testSecret, finishSecret
	Kind     secrets.Kind // of a failure
	Error    string       // of a failure: what, where, and what to do; one line
	Strategy string
	Function string    // ARN of the custom function; "" = Pawl's own strategy
	NextTry  time.Time // of a failure that is tried again: not before
}

// Listener hears of events. Hear must be quick, or return at once and go on by
// itself; what it can't do is its own to report: a rotation does not wait for its
// listeners, nor fail with them.
type Listener interface {
	Hear(ctx context.Context, e Event)
}

// Listeners tells several.
type Listeners []Listener

// Hear tells each of them in turn.
func (ls Listeners) Hear(ctx context.Context, e Event) {
	for _, l := range ls {
		l.Hear(ctx, e)
	}
}
