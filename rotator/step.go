package rotator

import (
	"context"

	"github.com/pawlhq/pawl/secrets"
)

// Step does one of the four steps of the rotation to a version, for a caller who
// drives the rotation himself and calls the steps in their order, each at least
// once: AWS Secrets Manager. The version is there and has the label AWSPENDING.
// Every step may be repeated, and so may all of them from the first.
//
// createSecret checks that the rotation can succeed and fills the version.
// setSecret makes the server accept it; it asks the server whether it does so
// already only where AWSCURRENT is refused, so that a clean rotation makes no
// failed login. testSecret logs in with it, and where waiting will not cure a
// failure puts the old password back and takes AWSPENDING off, as Run does: the
// applications go on, and the rotation is over. finishSecret promotes it and
// leaves AWSPENDING where it is, for the caller to take off.
//
// Errors: as Run; Invalid for an unknown step; Conflict for a version that has
// not AWSPENDING.
func (r *Rotator) Step(ctx context.Context, v Vault, rules secrets.RotationRules, step, versionID string, o Options) error {
	panic("not there yet")
}
