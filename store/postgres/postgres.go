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
//
// It connects to the server itself, not to a pooler that gives out connections by
// the transaction: it prepares statements, listens for notices, and its sessions
// have settings of their own.
package postgres

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Config says which database, and who uses it.
type Config struct {
	// DSN is a URL (postgres://…) or key=value pairs; several hosts may be named,
	// of which the one that takes changes is used. It names host, user and database.
	// Nothing is taken from the environment: no PG* variables, no password file, no
	// certificates of the home directory. Where it has no sslmode, that is
	// verify-full, or disable if every host is a loopback address or a socket; prefer
	// and allow are refused.
	DSN      string
	Password secrets.Password // "" = the one in DSN, if any
	// PasswordNow, unless it is nil, is asked for the password instead, when the
	// store is opened and before each connection is made; any number may ask at once.
	// What it fails with when the store is opened is the error of that.
	PasswordNow func() (secrets.Password, error)
	// MaxConnections bounds the connections that this process reads and writes with;
	// 0 = 16. Three more are for claims, and for hearing of the others' writes, and up
	// to four in place of such as hang.
	MaxConnections int
	Log            *slog.Logger // nil = slog.Default()
}

// MaxStale is how long what another process wrote may go unseen.
const MaxStale = time.Second

// Store is a service.Store, a principals.Store and a seal.Store.
type Store struct {
	name string // which database, for people
	pool *pgxpool.Pool
	log  *slog.Logger
	// broke is when a connection last broke, in nanoseconds since 1970: those that
	// have not been used since are asked for a sign of life before they are.
	broke    atomic.Int64
	lookTime time.Duration // lookTime, or a test's own

	memory // what is remembered of the database: cache.go
	claims // of this process: lease.go

	closing sync.Once
}

var _ service.Store = (*Store)(nil)

// Close gives up the claims that are left, and closes the store.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.endClaims()
		s.endMemory()
		s.pool.Close()
	})
	return nil
}

// direct makes a connection that is not one of the pool's, for whoever listens on
// it. It is the caller's to close.
func (s *Store) direct(ctx context.Context) (*pgx.Conn, error) {
	config := s.pool.Config()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, config.ConnConfig)
}
