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
	Key   string
	Value string
}

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
	// nothing is written. change runs once, must be quick and must not call the
	// store. Errors: ErrNotFound.
	Update(ctx context.Context, arn secrets.ARN, change func(*Secret) (Sealed, error)) (*Secret, error)
	// Remove deletes a secret and its values at once. Errors: ErrNotFound.
	Remove(ctx context.Context, arn secrets.ARN) error
	// Value returns the encrypted value of a version. Errors: ErrNotFound.
	Value(ctx context.Context, arn secrets.ARN, versionID string) ([]byte, error)
	// List returns up to n secrets of an account and region whose names come
	// after `after`, in byte order of the name.
	List(ctx context.Context, account, region, after string, n int) ([]*Secret, error)
	// Due returns up to n secrets of all accounts and regions whose DueAt is not
	// zero and not after `before`, oldest first, with names before others at the
	// same instant.
	Due(ctx context.Context, before time.Time, n int) ([]*Secret, error)
	// Purgeable returns up to n secrets whose PurgeAt is set and not after now.
	Purgeable(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error)
	// Lock claims the right to rotate a secret, at once or not at all: Conflict
	// when another living claimant, here or in another process, has it. The claim ends
	// with release, and with the process however it dies.
	Lock(ctx context.Context, arn secrets.ARN) (release func(), err error)
	Close() error
}

// Errors of a Store.
var (
	ErrNotFound = errors.New("no such secret or version")
	ErrExists   = errors.New("a secret with this name exists")
)

// Sealer encrypts values. What it returns opens only for the same ARN and
// version id.
type Sealer interface {
	Seal(arn, versionID string, v secrets.Value) ([]byte, error)
	// Open decrypts. A wrong key or altered bytes give an error of kind Invalid
	// with Code DecryptionFailure.
	Open(arn, versionID string, sealed []byte) (secrets.Value, error)
}
