// Package postgres keeps secrets in a PostgreSQL database (14 or newer) that any
// number of Pawls share.
//
// Every one of them may serve any request and rotate any secret. A claim is a
// lease: a row with an epoch, which ends by the database's own clock unless it is
// renewed; every write of a rotation is refused in its own transaction when its
// lease is gone.
//
// What was read last stays in memory, values as encrypted as in the database, for
// less than a second: so long what another process wrote may go unseen, if its
// notice does not come sooner. What this process wrote is seen at once.
package postgres

import (
	"context"
	"log/slog"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Config says which database, and who uses it.
type Config struct {
	// DSN is a URL (postgres://…) or key=value pairs; several hosts may be named.
	// Nothing is taken from the environment: no PG* variables, no password file.
	DSN      string
	Password secrets.Password // "" = the one in DSN, if any
	// MaxConnections bounds the connections of this process; 0 = 16.
	MaxConnections int
	Log            *slog.Logger // nil = slog.Default()
}

// MaxStale is how long what another process wrote may go unseen.
const MaxStale = time.Second

// Migrate makes the schema, or brings it to the newest version, as the user of
// the DSN, who comes to own it, and gives grantee ("" = nobody) the rights that a
// running Pawl needs and no more. Any number may do so at once. Errors: Invalid
// for a schema of a newer Pawl and for a database that is none of Pawl's, Denied,
// Transient.
func Migrate(ctx context.Context, c Config, grantee string) (from, to int, err error) {
	panic("not there yet")
}

// Open opens the store in a database that was migrated. Errors: Invalid for what a
// person has to mend (no schema, an older or a newer one), and leave everything as
// it was; Denied for credentials and rights; Transient for a server that can't be
// reached or only reads.
func Open(ctx context.Context, c Config) (*Store, error) { panic("not there yet") }

// Store is a service.Store, a principals.Store and a seal.Store.
type Store struct{}

// Lock implements service.Store.
func (s *Store) Lock(ctx context.Context, arn secrets.ARN) (service.Lease, error) {
	panic("not there yet")
}

// Close gives up the claims that are left, and closes the store.
func (s *Store) Close() error { panic("not there yet") }
