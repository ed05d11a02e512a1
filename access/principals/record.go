// Package principals is who there is: users and roles, their access keys,
// sessions and policies, kept in a store. A Directory finds the holder of an
// access key for access.Verifier, with his policies ready to be evaluated, and
// is what `pawl access` works on.
//
// Whatever a request is decided by is read for that request: what it finds in
// memory is used only if the store says that nothing changed since. So a
// disabled key, or another policy, takes effect with the next request, whichever
// process it came from.
package principals

import (
	"context"
	"errors"
	"time"

	"github.com/pawlhq/pawl/access/policy"
)

// Kind is what a principal is.
type Kind string

// The kinds of principals. A user has access keys; a role is assumed.
const (
	User Kind = "user"
	Role Kind = "role"
)

// Record is a principal as a store keeps it. Name is unique among the users and
// roles of an account, so that a name alone says who is meant.
type Record struct {
	Account string // 12 digits
	Name    string // 1 to 64 letters, digits and +=,.@_-
	Kind    Kind
	ID      string // AIDA… or AROA…, unique for ever: who is made anew under an old name is another
	Created time.Time
	// Disabled: none of his keys and sessions is good, and nobody assumes him.
	Disabled bool `json:",omitempty"`
	// SessionsSince: session credentials made before this are no good. It is for
	// people; what decides is Sessions, which no clock can get wrong.
	SessionsSince time.Time `json:",omitzero"`
	// Sessions is how often his sessions were ended: session credentials say under
	// which number they were made, and another one's are no good.
	Sessions int64 `json:",omitempty"`

	Tags []policy.Tag `json:",omitempty"`

	Policies []Policy `json:",omitempty"` // identity-based, in order, names unique
	Boundary string   `json:",omitempty"` // the document of a permissions boundary; "" = none
	Trust    string   `json:",omitempty"` // a role's: the document that says who may assume it
	// MaxSession is how long a session of a role may last; 0 = one hour.
	MaxSession time.Duration `json:",omitempty"`

	Keys []AccessKey `json:",omitempty"` // a user's, oldest first; at most MaxKeys
}

// MaxKeys is how many access keys a user may have: an old and a new one.
// Source: IAM user guide, "IAM and AWS STS quotas".
const MaxKeys = 2

// Policy is a policy document with a name.
type Policy struct {
	Name     string
	Document string // JSON, byte for byte as it was given
}

// AccessKey is a long-term key.
type AccessKey struct {
	ID       string // AKIA… and 16 characters
	Created  time.Time
	Disabled bool   `json:",omitempty"`
	Sealed   []byte // the secret access key, encrypted
}

// String names the key, without what is in it.
func (k AccessKey) String() string {
	if k.Disabled {
		return k.ID + " (disabled)"
	}
	return k.ID
}

// Place is where a principal is in a listing.
type Place struct{ Account, Name string }

// Store keeps principals. Its errors other than the two below are those of
// service.Store's contract; so is its durability.
type Store interface {
	// SettingsRevision is a number that rises with every change of the principals,
	// by whatever process. It is cheap enough to be asked for every request.
	SettingsRevision(ctx context.Context) (int64, error)
	// Principal returns a record. Errors: ErrNotFound.
	Principal(ctx context.Context, account, name string) (*Record, error)
	// Holder returns the record that has an access key of this id. Errors:
	// ErrNotFound.
	Holder(ctx context.Context, keyID string) (*Record, error)
	// Principals returns up to n records after a place, ordered by account and
	// name, byte by byte; account "" = of all.
	Principals(ctx context.Context, account string, after Place, n int) ([]*Record, error)
	// CreatePrincipal adds a record. Errors: ErrExists for a name that is taken, or
	// the id of an access key.
	CreatePrincipal(ctx context.Context, r *Record) error
	// ChangePrincipal reads the record, lets change alter it and writes it back, in
	// one transaction that excludes every other writer; where change returns
	// ErrRemove the record is removed instead. Any other error of change is
	// returned as it is and nothing is written. change must not call the store.
	// Errors: ErrNotFound, ErrExists for the id of an access key.
	ChangePrincipal(ctx context.Context, account, name string, change func(*Record) error) (*Record, error)

	// NoteUse keeps when an access key was last used; it does not raise
	// SettingsRevision. An unknown key is no error.
	NoteUse(ctx context.Context, keyID string, at time.Time) error
	// LastUses returns when keys were last used, by id; those that never were are
	// left out.
	LastUses(ctx context.Context, keyIDs []string) (map[string]time.Time, error)
}

// Errors of a Store, and one that a change gives to it.
var (
	ErrNotFound = errors.New("no such principal or access key")
	ErrExists   = errors.New("a principal with this name, or an access key with this id, exists")
	ErrRemove   = errors.New("remove the principal")
)
