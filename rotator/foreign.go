package rotator

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Foreign is a rotation whose four steps somebody else's code does: a custom
// rotation function. It makes the values and moves the labels itself, through
// the Secrets Manager API, while Pawl has the secret claimed.
type Foreign interface {
	// Check makes sure that the function can be called, as far as that can be
	// found out without calling it. Errors: Invalid, Denied, Transient.
	Check(ctx context.Context, secret secrets.ARN) error
	// Do has the function do one step, for the version that is being rotated to.
	// values are what the secret holds: they are given only so that none of them
	// is repeated from what the function says of itself. Errors: any kind;
	// Transient and Unknown are worth another try of the whole rotation.
	Do(ctx context.Context, step string, secret secrets.ARN, versionID string, values []secrets.Value) error
	// Timeout is how long one step may take.
	Timeout() time.Duration
}

// Stager is a Vault that can stage a version which has no value yet, for a
// Foreign to fill.
type Stager interface {
	// Stage makes an empty version with the label AWSPENDING and returns its id.
	// Conflict where AWSPENDING is on a version that is not AWSCURRENT.
	Stage(ctx context.Context) (versionID string, err error)
}
