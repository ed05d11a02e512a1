package aws

import (
	"context"

	"github.com/pawlhq/pawl/secrets"
)

// Claim claims a secret, by name or ARN, within this process: AWS has no leases.
// Rotators of other processes that race with this one make the version id that
// this one makes, and go on with the value that was there first. Errors: Conflict
// while this process rotates it already; ResourceNotFoundException; Invalid for
// one that AWS itself rotates, that is marked for deletion, managed by a service,
// or a replica.
func (s *Store) Claim(ctx context.Context, id string) (*Claim, error) { panic("not there yet") }

// ClaimVersion is Claim for one step of a rotation that AWS Secrets Manager
// drives: the pending version has that id whatever else there is, and
// rotationToken goes with its value. RotationEnabled and AWSPENDING are the
// caller's to check, see Claim.Enabled.
func (s *Store) ClaimVersion(ctx context.Context, id, versionID, rotationToken string) (*Claim, error) {
	panic("not there yet")
}

// Claim is the right to rotate one secret in this process, until Release. It is
// the scheduler's Claim and the rotator's Vault. A label is moved only from where
// it was seen: where it is no more, the secret is read again, and unless it is
// where it should be the answer is Conflict.
//
// AWS can't promote and see whether AWSPENDING is still there in one call.
// Promote therefore moves AWSCURRENT first and takes AWSPENDING off after; where
// that was gone, another rotator gave the version up meanwhile, and the error is
// rotator.ErrGivenUp.
type Claim struct{}

// ARN returns the secret's.
func (c *Claim) ARN() secrets.ARN { panic("not there yet") }

// Rotation returns the rules and the history as they were at the claim.
func (c *Claim) Rotation() secrets.Rotation { panic("not there yet") }

// Enabled reports whether AWS's own rotation is on; configured is false where it
// never was.
func (c *Claim) Enabled() (enabled, configured bool) { panic("not there yet") }

// Tag returns the value of one of the secret's tags, "" for none.
func (c *Claim) Tag(key string) string { panic("not there yet") }

// Versions reads the versions and their labels afresh; the first call has them
// from the claim itself. Versions that have no label are not among them, nor when
// any was made.
func (c *Claim) Versions(ctx context.Context) (secrets.Versions, error) { panic("not there yet") }

// Value reads a version's value; zero for one that is still empty. What this
// claim put or read before comes from memory.
func (c *Claim) Value(ctx context.Context, versionID string) (secrets.Value, error) {
	panic("not there yet")
}

// PutPending is the Vault's. Its id, where none is given, is derived from the
// ARN, the version that is AWSCURRENT, and the number of values given up since.
func (c *Claim) PutPending(ctx context.Context, id string, v secrets.Value) (string, error) {
	panic("not there yet")
}

// Promote is the Vault's.
func (c *Claim) Promote(ctx context.Context, versionID string, keepPending bool) error {
	panic("not there yet")
}

// MoveLabel is the Vault's.
func (c *Claim) MoveLabel(ctx context.Context, label, versionID string) error {
	panic("not there yet")
}

// Save keeps the record of a failure in tags of the secret, and takes them off
// for the zero record. Where tags may not be written the record is kept in memory.
func (c *Claim) Save(ctx context.Context, a secrets.Attempt) error { panic("not there yet") }

// Release gives the claim up. Further calls do nothing.
func (c *Claim) Release() { panic("not there yet") }
