// Package lambda is Pawl as an AWS Lambda function. It takes the event by which
// AWS Secrets Manager has a rotation function do one step, an event that names a
// secret to rotate as a whole, and those of a schedule, which have all that is
// due rotated. The steps are the rotator's, the same as everywhere.
package lambda

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/aws"
)

// Config is what a Handler is made of. All are required but Rules.
type Config struct {
	Store  *aws.Store
	Runner *scheduler.Runner // over the same Store, for whole rotations
	// Rules are the operator's. Where its Strategy is empty the secret's own tag
	// pawl:strategy says it, and without one single-user.
	Rules secrets.RotationRules
	Log   *slog.Logger
	// Reserve is how long before the invocation's end no password is set any
	// more; 0 = 10 s, or a third of the time there is if that is less.
	Reserve time.Duration
	Now     func() time.Time
}

// Handler handles invocations, one at a time.
type Handler struct{ Config }

// Handle handles one invocation; its context ends when the invocation's time
// does. The answer to a step is null, to anything else an object that says what
// was done. Errors have a type that Lambda reports: see docs/lambda.md.
func (h *Handler) Handle(ctx context.Context, event json.RawMessage) (any, error) {
	panic("not there yet")
}

var _ = rotator.Options{}
