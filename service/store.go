package service

import (
	"context"
	"errors"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Secret is the record of a secret: everything but its values.
type Secret struct {
	ARN         secrets.ARN
	Description string
	KMSKeyID    string // as given; "" = the default key
	Tags        []Tag  // in the order they were first set; nil until the first tag, then never nil again
	Created     time.Time
	Changed     time.Time // last change of anything
	Accessed    time.Time // day of the last read, midnight UTC; zero if never
	Deleted     time.Time // when deletion was asked for; zero if it was not
	PurgeAt     time.Time // when a deleted secret ends
	Versions    secrets.Versions
	Rotation    *secrets.Rotation // nil until rotation was first configured
	Policy      string            // the resource policy, byte for byte; "" = none

	Type          string    // kind of a partner's secret; "" for all others
	OwningService string    // the AWS service that manages it; "" = its owner does
	External      *External // how a partner's secret rotates; nil = never told

	// PrimaryRegion is where a replica's primary is; "" for all other secrets.
	PrimaryRegion string
	Replicas      []Replica // of a primary, in the order they were added
	// Revision counts the changes of a primary that its replicas follow. A
	// replica has the one of its primary that it was last made equal to.
	Revision int64
	// FollowAt is when a primary's replicas should be looked at next because
	// they are behind, and when a replica just made should be, in case its
	// primary gave it up meanwhile; zero = never. Kept because a store can index
	// it.
	FollowAt time.Time

	// ValueChanged is when AWSCURRENT last became another version, by a
	// rotation or by hand: what rate() schedules count from.
	ValueChanged time.Time
	// DueAt is when the scheduler should look at the secret next; zero = never.
	// It is derived from the other fields at each write, and kept only because
	// a store can index it.
	DueAt time.Time
}

// Tag is one tag. Keys are unique within a secret.
type Tag struct {
	Key   string `aws:"required 1..128"`
	Value string `aws:"0..256"`
}

// External is how a partner's secret rotates: pairs that mean something to the
// partner, and the role that may talk to him.
type External struct {
	Metadata []ExternalSecretRotationMetadataItem `json:"metadata,omitempty"`
	RoleARN  string                               `json:"roleArn,omitempty"`
}

// ExternalSecretRotationMetadataItem is one pair of a partner's.
type ExternalSecretRotationMetadataItem struct {
	Key   string `aws:"1..256"`
	Value string `aws:"1..2048"`
}

// Replica is a primary's record of one of its replicas.
type Replica struct {
	Region   string        `json:"region"`
	KMSKeyID string        `json:"kmsKeyId,omitempty"`
	Status   ReplicaStatus `json:"status"`
	Message  string        `json:"message,omitempty"` // why it failed
	// Force: until it is in sync, a secret of this name there makes way for it.
	Force bool `json:"force,omitempty"`
	// Removing: it is to be deleted, and then forgotten. Stopping: it is to
	// become a secret of its own, and then forgotten.
	Removing bool `json:"removing,omitempty"`
	Stopping bool `json:"stopping,omitempty"`
}

// ReplicaStatus is how far a replica is. The values are AWS's.
type ReplicaStatus string

// The values of ReplicaStatus.
const (
	InProgress ReplicaStatus = "InProgress" // the replica is behind its primary
	InSync     ReplicaStatus = "InSync"
	Failed     ReplicaStatus = "Failed" // and is not tried again until somebody asks
)

// Listing asks for secrets of an account and region, or of all.
type Listing struct {
	Account, Region string
	Prefix          string // of the name, case-sensitive; "" = any
	Order           Order
	Descending      bool
	After           Position // the listing goes on after this place in it; zero = at its start
	N               int      // at most so many
}

// Order is by what a listing is sorted; names, in byte order, break ties, and
// turn round with the rest.
type Order int

// The orders of a listing.
const (
	ByName Order = iota
	ByCreated
	ByChanged
	ByAccessed // those never read as if in 1970
)

// Position is a secret's place in a listing: what it is sorted by, and its name.
type Position struct {
	At   time.Time // zero when sorted by name
	Name string
}

// PositionOf returns the place of a secret in a listing.
func (o Order) PositionOf(s *Secret) Position {
	p := Position{Name: s.ARN.Name}
	switch o {
	case ByCreated:
		p.At = s.Created
	case ByChanged:
		p.At = s.Changed
	case ByAccessed:
		p.At = s.Accessed
	}
	return p
}

// Place is an account and a region.
type Place struct{ Account, Region string }

// DueAfter is a place in what is due: right after this secret. The zero value is
// the start.
type DueAfter struct {
	At  time.Time // its DueAt
	ARN secrets.ARN
}

// DueAfterOf returns the place after a secret that Due returned.
func DueAfterOf(s *Secret) DueAfter { return DueAfter{s.DueAt, s.ARN} }

// Sealed maps version ids to encrypted values.
type Sealed map[string][]byte

// Store keeps records and encrypted values durably. An error that is not one of
// the two below is Transient where waiting may help (busy) and Invalid where a
// person is needed (damaged file, read-only disk), and says what to do. A write
// that returned nil survives the death of the process and of the machine.
type Store interface {
	// Create adds a secret. A name that is taken in the same account and region
	// gives ErrExists, whether or not its owner is scheduled for deletion.
	Create(ctx context.Context, s *Secret, values Sealed) error
	// Find returns the secret meant by id. Account and region of a plain name
	// are in id.ARN too by the time it gets here. Errors: ErrNotFound.
	Find(ctx context.Context, id secrets.ID) (*Secret, error)
	// Update reads the secret, lets change alter it, and writes it back with the
	// values change returned, all in one transaction that excludes every other
	// writer of this secret in any process. Versions missing afterwards are
	// removed with their values. An error of change is returned as it is and
	// nothing is written, but where it is ErrRemove: then the secret is removed
	// with its values instead of written, and returned as change left it. change
	// runs once, must be quick and must not call the store. Errors: ErrNotFound.
	Update(ctx context.Context, arn secrets.ARN, change func(*Secret) (Sealed, error)) (*Secret, error)
	// Remove deletes a secret and its values at once. Errors: ErrNotFound.
	Remove(ctx context.Context, arn secrets.ARN) error
	// Value returns the encrypted value of a version that the caller has seen in
	// a record. What it opens to never changes, so it may come from memory, also
	// when the version has been removed since; but a value that was encrypted anew
	// before the record was read comes as new. The bytes are the store's and not to
	// be altered. Errors: ErrNotFound.
	Value(ctx context.Context, arn secrets.ARN, versionID string) ([]byte, error)
	// List returns up to l.N secrets of an account and region.
	List(ctx context.Context, l Listing) ([]*Secret, error)
	// Places returns where there are secrets, by account and region.
	Places(ctx context.Context) ([]Place, error)
	// Behind returns up to n secrets whose FollowAt is set and not after now,
	// longest behind first.
	Behind(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error)
	// Due returns up to n secrets of all accounts and regions whose DueAt is not
	// zero and not after `before`, oldest first, at the same instant by name, account
	// and region, from the place after on. Those that another process has claimed may
	// be left out.
	Due(ctx context.Context, before time.Time, after DueAfter, n int) ([]*Secret, error)
	// Backlog counts the secrets that Due has for `before`, up to most, and returns
	// since when the oldest is due; zero where there is none.
	Backlog(ctx context.Context, before time.Time, most int) (n int, oldest time.Time, err error)
	// Purgeable returns up to n secrets whose PurgeAt is set and not after now.
	Purgeable(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error)
	// Lock claims the right to rotate a secret, at once or not at all: Conflict
	// when another claimant, here or in another process, has it; it wraps a Held
	// where he may be dead. The claim ends with its Release, and with the process
	// however it dies: at once, or LeaseTime after the store last heard of it.
	Lock(ctx context.Context, arn secrets.ARN) (Lease, error)
	Close() error
}

// Peeker is a Store with a quicker Find.
type Peeker interface {
	// Peek is Find for who only looks: the record is the store's, and not to be
	// altered, nor anything that it points to.
	Peek(ctx context.Context, id secrets.ID) (*Secret, error)
}

// Errors of a Store, and one that a change gives to it.
var (
	ErrNotFound = errors.New("no such secret or version")
	ErrExists   = errors.New("a secret with this name exists")
	// ErrRemove, returned by the change of an Update, has the secret removed: a
	// Remove that looks before.
	ErrRemove = errors.New("remove the secret")
)

// Daemon is who rotates what RotateSecret asks for. A Service without one only
// stores it: whichever daemon serves the store finds it due.
type Daemon interface {
	// Wake says that something has become due. It does not block.
	Wake()
	// Test runs the checks of a rotation, soon, and reports to the log. It does
	// not block.
	Test(arn secrets.ARN)
	// Check runs the checks of a rotation now: what a rotation would do, or why
	// it would fail. Nothing is changed.
	Check(ctx context.Context, arn secrets.ARN) (outcome string, err error)
}

// Functions are the custom rotation functions that there are.
type Functions interface {
	// Has reports whether the operator lets a function of this ARN be called.
	Has(arn string) bool
	// Check finds out whether it can be called now. Errors: Invalid, Denied,
	// Transient.
	Check(ctx context.Context, arn string) error
}

// Sealer encrypts values. What it returns opens only for the same ARN and
// version id.
type Sealer interface {
	// Seal encrypts under the key that a KmsKeyId names, "" for the default one.
	// Errors: as Check; Code EncryptionFailure for a key that is disabled.
	Seal(ctx context.Context, key, arn, versionID string, v secrets.Value) ([]byte, error)
	// Open decrypts, whatever key it takes. A key that is gone or disabled and
	// altered bytes give an error of kind Invalid with Code DecryptionFailure.
	Open(ctx context.Context, arn, versionID string, sealed []byte) (secrets.Value, error)
	// Check makes sure that values of a secret can be encrypted under a key, and
	// decrypted again. Errors: Code InvalidParameterException for a key that
	// there is not, AccessDeniedException for one that may not be used.
	Check(ctx context.Context, key, arn string) error
}
