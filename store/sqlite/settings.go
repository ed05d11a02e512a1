package sqlite

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

var (
	_ principals.Store = (*Store)(nil)
	_ seal.Store       = (*Store)(nil)
)

// SettingsRevision implements principals.Store and seal.Store.
func (s *Store) SettingsRevision(ctx context.Context) (int64, error) { panic("not there yet") }

// Principal implements principals.Store.
func (s *Store) Principal(ctx context.Context, account, name string) (*principals.Record, error) {
	panic("not there yet")
}

// Holder implements principals.Store.
func (s *Store) Holder(ctx context.Context, keyID string) (*principals.Record, error) {
	panic("not there yet")
}

// Principals implements principals.Store.
func (s *Store) Principals(ctx context.Context, account string, after principals.Place, n int) ([]*principals.Record, error) {
	panic("not there yet")
}

// CreatePrincipal implements principals.Store.
func (s *Store) CreatePrincipal(ctx context.Context, r *principals.Record) error {
	panic("not there yet")
}

// ChangePrincipal implements principals.Store.
func (s *Store) ChangePrincipal(ctx context.Context, account, name string, change func(*principals.Record) error) (*principals.Record, error) {
	panic("not there yet")
}

// NoteUse implements principals.Store.
func (s *Store) NoteUse(ctx context.Context, keyID string, at time.Time) error {
	panic("not there yet")
}

// LastUses implements principals.Store.
func (s *Store) LastUses(ctx context.Context, keyIDs []string) (map[string]time.Time, error) {
	panic("not there yet")
}

// Keep implements seal.Store.
func (s *Store) Keep(ctx context.Context, name string, value []byte) error { panic("not there yet") }

// NamedKeys implements seal.Store.
func (s *Store) NamedKeys(ctx context.Context) ([]seal.NamedKey, error) { panic("not there yet") }

// ChangeNamedKeys implements seal.Store.
func (s *Store) ChangeNamedKeys(ctx context.Context, change func([]seal.NamedKey) ([]seal.NamedKey, error)) error {
	panic("not there yet")
}

// Reseal implements seal.Store.
func (s *Store) Reseal(ctx context.Context, after string, n int, change func(arn secrets.ARN, versionID string, sealed []byte) ([]byte, error)) (next string, err error) {
	panic("not there yet")
}
