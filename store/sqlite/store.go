// Package sqlite keeps secrets in one SQLite file, which a daemon and any
// number of one-shot commands may use at once.
//
// The file must be on a local disk (its write-ahead log needs shared memory),
// and within one process nothing but this package may open it: on most systems
// closing any descriptor of a file gives up all locks the process has on it.
// Beside the file at PATH stand PATH-wal and PATH-shm, which belong to it, and
// PATH.lock, which holds nothing worth keeping but must not be removed while a
// Pawl runs.
//
// A store keeps what was read last in memory, values as encrypted as in the
// file. A read is never older than the last write that was committed before it
// began, whoever wrote; but it may succeed although the file was damaged
// meanwhile. A running store must not have its database replaced or restored
// under it.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Store is a service.Store, a principals.Store and a seal.Store.
type Store struct {
	path    string
	readers *sql.DB
	mu      sync.Mutex
	queries map[string]*sql.Stmt // prepared for readers, by text
	ticks   *sql.DB              // one connection, so that the clock waits for no other reader
	clock   clock
	index   *walIndex
	cache   *cache
	w       *writerConn
	locks   *lockFile

	closing  sync.Once
	isClosed atomic.Bool
	closed   error // of Close
}

// Options change how a store is opened. The zero value is for a store that
// must exist already.
type Options struct {
	// Create makes the database if there is none. Without it a missing file is
	// an error: a daemon must not start on an empty store because a disk was
	// not mounted.
	Create bool
	// BusyTimeout is how long to wait for other writers, where the context
	// allows; 0 means 10 s.
	BusyTimeout time.Duration
}

const (
	defaultBusyTimeout = 10 * time.Second
	idleTime           = time.Minute // after which an unused reader is closed
)

// Close writes the log back into the file as far as other processes allow, and
// closes the store. Claims that were not released stay until they are.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.isClosed.Store(true)
		s.closed = errors.Join(classify(s.path, s.readers.Close()), classify(s.path, s.ticks.Close()), classify(s.path, s.w.close()), s.locks.close(), s.index.release())
	})
	return s.closed
}

// What readers select.
var dueQuery = selecting(`FROM secrets WHERE due_at <= ? AND (due_at, name, account, region) > (?, ?, ?, ?)
	ORDER BY due_at, name, account, region LIMIT ?`)

const (
	backlogQuery = "SELECT count(*), min(due_at) FROM (SELECT due_at FROM secrets WHERE due_at <= ? ORDER BY due_at LIMIT ?)"
	valueQuery   = `SELECT x.value FROM secrets s
		JOIN versions v ON v.secret_id = s.id JOIN sealed_values x ON x.id = v.value_id
		WHERE s.account = ? AND s.region = ? AND s.name = ? AND s.suffix = ? AND s.partition = ?
		AND v.id = ?`
	idQuery = `SELECT id FROM secrets
		WHERE account = ? AND region = ? AND name = ? AND suffix = ? AND partition = ?`
	purgeableQuery = `SELECT partition, region, account, name, suffix FROM secrets
		WHERE purge_at <= ? ORDER BY purge_at, id LIMIT ?`
	behindQuery = `SELECT partition, region, account, name, suffix FROM secrets
		WHERE follow_at <= ? ORDER BY follow_at, id LIMIT ?`
)

// statement returns the prepared statement of a reader. It may wait for a
// connection.
func (s *Store) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.queries[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.readers.PrepareContext(ctx, query)
	if err == nil {
		s.queries[query] = stmt
	}
	return stmt, err
}

// query runs a statement of a reader.
func (s *Store) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := s.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// Find implements service.Store.
func (s *Store) Find(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	sec, err := s.Peek(ctx, id)
	if err != nil {
		return nil, err
	}
	return sec.Clone(), nil
}

// Peek implements service.Peeker.
func (s *Store) Peek(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	a := id.ARN
	now, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	sec, keep := s.cache.find(placeOf(a), now)
	if sec == nil {
		found, err := readOne(func() (*sql.Rows, error) {
			return s.query(ctx, findQuery, a.Account, a.Region, a.Name)
		})
		if err != nil {
			return nil, classify(s.path, err)
		}
		if found == nil {
			return nil, service.ErrNotFound
		}
		if sec, err = found.decode(); err != nil {
			return nil, err
		}
		if keep {
			s.cache.keep(sec, found.values(), now)
		}
	}
	if !id.ByName && sec.ARN.Suffix != a.Suffix || a.Partition != "" && sec.ARN.Partition != a.Partition {
		return nil, service.ErrNotFound
	}
	return sec, nil
}

// now asks the clock. Where it does not answer, the database itself is asked
// next and will say why.
func (s *Store) now(ctx context.Context) (int64, error) {
	at, err := s.clock.now(ctx)
	if ctx.Err() != nil {
		return 0, classify(s.path, ctx.Err())
	}
	if err != nil {
		return unknownClock, nil
	}
	return at.secrets, nil
}

// Due implements service.Store.
func (s *Store) Due(ctx context.Context, before time.Time, after service.DueAfter, n int) ([]*service.Secret, error) {
	from := int64(math.MinInt64)
	if !after.At.IsZero() {
		from = after.At.UnixMicro()
	}
	a := after.ARN
	return s.records(ctx, dueQuery, before.UnixMicro(), from, a.Name, a.Account, a.Region, max(n, 0))
}

// Backlog implements service.Store.
func (s *Store) Backlog(ctx context.Context, before time.Time, most int) (n int, oldest time.Time, err error) {
	rows, err := s.query(ctx, backlogQuery, before.UnixMicro(), max(most, 0))
	if err != nil {
		return 0, time.Time{}, classify(s.path, err)
	}
	defer rows.Close()
	var first sql.NullInt64
	for rows.Next() {
		if err := rows.Scan(&n, &first); err != nil {
			return 0, time.Time{}, classify(s.path, err)
		}
	}
	if first.Valid {
		oldest = time.UnixMicro(first.Int64).UTC()
	}
	return n, oldest, classify(s.path, rows.Err())
}

// records runs a statement of selecting, and returns the secrets as they are at
// one moment.
func (s *Store) records(ctx context.Context, query string, args ...any) ([]*service.Secret, error) {
	statements := make(map[string]*sql.Stmt)
	for _, q := range []string{query, versionsQuery} {
		stmt, err := s.statement(ctx, q) // may need a connection, so before one is held
		if err != nil {
			return nil, classify(s.path, err)
		}
		statements[q] = stmt
	}
	tx, err := s.readers.BeginTx(ctx, nil)
	if err != nil {
		return nil, classify(s.path, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	found, err := readMany(func(query string, args ...any) (*sql.Rows, error) {
		return tx.StmtContext(ctx, statements[query]).QueryContext(ctx, args...)
	}, query, args...)
	if err != nil {
		return nil, classify(s.path, err)
	}
	out := make([]*service.Secret, len(found))
	for i := range found {
		if out[i], err = found[i].decode(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Value implements service.Store.
func (s *Store) Value(ctx context.Context, a secrets.ARN, versionID string) ([]byte, error) {
	if sealed := s.cache.seen(a, versionID); sealed != nil {
		return sealed, nil
	}
	now, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	sealed, known, keep := s.cache.value(a, versionID, now)
	if !known {
		err := s.one(ctx, &sealed, valueQuery, a.Account, a.Region, a.Name, a.Suffix, a.Partition, versionID)
		if err != nil {
			return nil, err
		}
		if keep {
			s.cache.keepValue(a, versionID, sealed, now)
		}
	}
	if sealed == nil {
		return nil, service.ErrNotFound
	}
	return sealed, nil
}

func (s *Store) one(ctx context.Context, dest any, query string, args ...any) error {
	stmt, err := s.statement(ctx, query)
	if err == nil {
		err = stmt.QueryRowContext(ctx, args...).Scan(dest)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return service.ErrNotFound
	}
	return classify(s.path, err)
}

// Purgeable implements service.Store.
func (s *Store) Purgeable(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error) {
	return s.arns(ctx, purgeableQuery, now, n)
}

// Behind implements service.Store.
func (s *Store) Behind(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error) {
	return s.arns(ctx, behindQuery, now, n)
}

func (s *Store) arns(ctx context.Context, query string, now time.Time, n int) ([]secrets.ARN, error) {
	rows, err := s.query(ctx, query, now.UnixMicro(), max(n, 0))
	if err != nil {
		return nil, classify(s.path, err)
	}
	defer rows.Close()
	var out []secrets.ARN
	for rows.Next() {
		var a secrets.ARN
		if err := rows.Scan(&a.Partition, &a.Region, &a.Account, &a.Name, &a.Suffix); err != nil {
			return nil, classify(s.path, err)
		}
		out = append(out, a)
	}
	return out, classify(s.path, rows.Err())
}

// Lock implements service.Store. The error of a claim that another process has
// names that process where it can.
func (s *Store) Lock(ctx context.Context, a secrets.ARN) (service.Lease, error) {
	var id int64
	if err := s.one(ctx, &id, idQuery, a.Account, a.Region, a.Name, a.Suffix, a.Partition); err != nil {
		return nil, err
	}
	release, err := s.locks.claim(id)
	if err != nil {
		return nil, secrets.At(err, a.Name, "", "")
	}
	return service.Unending(s, a, release), nil
}
