package seal

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Store keeps named keys, wrapped by the master key, and the values that keys
// encrypt. Errors are those of service.Store's contract.
type Store interface {
	Memory
	// Keep is Remember that replaces what is kept under the name.
	Keep(ctx context.Context, name string, value []byte) error

	// SettingsRevision is a number that rises with every change of the named
	// keys, by whatever process. It is cheap enough to be asked for every request.
	SettingsRevision(ctx context.Context) (int64, error)
	// NamedKeys returns all named keys, by alias.
	NamedKeys(ctx context.Context) ([]NamedKey, error)
	// ChangeNamedKeys lets change return what the named keys should be, in one
	// transaction that excludes every other writer. An error of change is returned
	// as it is and nothing is written. change must not call the store.
	ChangeNamedKeys(ctx context.Context, change func([]NamedKey) ([]NamedKey, error)) error

	// Reseal gives change up to n of the sealed values, in an order that does not
	// change, from the place after on ("" = from the start), and writes back what
	// it returns (nil = leave as it is), all in one transaction. next is the place
	// to go on at, "" when there are no more. change must be quick and must not
	// call the store.
	Reseal(ctx context.Context, after string, n int, change func(arn secrets.ARN, versionID string, sealed []byte) ([]byte, error)) (next string, err error)
}

// NamedKey is a key of Pawl's own that secrets name by KmsKeyId. One record among
// them stands for the default key: its ID is "default", its Generations are the
// master keys that ever sealed, without their material.
type NamedKey struct {
	ID          string // a UUID
	Alias       string // alias/…
	Created     time.Time
	Generations []Generation // newest first, at least one: the first seals, all open
}

// Generation is key material. That of a key which was rotated stays until no
// value needs it.
type Generation struct {
	ID      string // 16 hexadecimal digits, as in what it seals; derived from the material
	Created time.Time
	Wrapped []byte // the material, sealed by the master key
}
