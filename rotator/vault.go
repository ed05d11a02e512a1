package rotator

import (
	"context"
	"errors"

	"github.com/pawlhq/pawl/secrets"
)

// ErrGivenUp, wrapped by a Conflict of Promote, says that the version is
// AWSCURRENT now although another rotator had given it up and may have put the
// old password back. Only an Unfenced Vault gives it.
var ErrGivenUp = errors.New("another rotator gave this version up meanwhile")

// Vault is one secret whose rotation the caller has claimed. Any method gives a
// Conflict when the claim was lost meanwhile. A write that returned nil is
// durable.
type Vault interface {
	ARN() secrets.ARN
	// Versions reads the versions and their staging labels afresh.
	Versions(ctx context.Context) (secrets.Versions, error)
	// Value reads the value of a version; zero for one that is still empty.
	Value(ctx context.Context, versionID string) (secrets.Value, error)
	// PutPending stores a new value with the labels AWSPENDING and PAWLINTENT in
	// one call, under the id of an empty pending version, or under a new one of
	// the vault's choosing when id is "". It returns the id; where another rotator
	// made that very version first, with both labels, its value counts and must be
	// read again. A version that anybody else has filled meanwhile is a Conflict:
	// PAWLINTENT never lands on a value that no rotator has looked at.
	PutPending(ctx context.Context, id string, v secrets.Value) (string, error)
	// Promote moves AWSCURRENT to the version, records that a rotation
	// completed, and takes AWSPENDING off unless keepPending, all in one call. Of
	// a version that is AWSCURRENT already it does the rest. Where another one does
	// not carry AWSPENDING any more, somebody put another value meanwhile:
	// Conflict, and nothing is moved; or ErrGivenUp.
	Promote(ctx context.Context, versionID string, keepPending bool) error
	// MoveLabel puts a label on the version, off any other; "" takes it off
	// altogether.
	MoveLabel(ctx context.Context, label, versionID string) error
}

// Unfenced is a Vault whose claim keeps no other process out. It moves a label
// only from where it has seen it, and promotes in more than one call: race.go says
// what follows.
type Unfenced interface {
	Vault
	Unfenced()
}
