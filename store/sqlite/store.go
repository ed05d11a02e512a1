// Package sqlite keeps secrets in one SQLite file, which a daemon and any
// number of one-shot commands may use at once.
//
// The file must be on a local disk (its write-ahead log needs shared memory),
// and within one process nothing but this package may open it: on most systems
// closing any descriptor of a file gives up all locks the process has on it.
// Beside the file at PATH stand PATH-wal and PATH-shm, which belong to it, and
// PATH.lock, which holds nothing worth keeping but must not be removed while a
// Pawl runs.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Store is a service.Store, and a seal.Memory.
type Store struct {
	path    string
	readers *sql.DB
	queries map[string]*sql.Stmt // prepared for readers, by text
	w       *writerConn
	locks   *lockFile
	closing sync.Once
	closed  error // of Close
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
		s.closed = errors.Join(classify(s.path, s.readers.Close()), classify(s.path, s.w.close()), s.locks.close())
	})
	return s.closed
}

// What readers select.
var (
	findQuery = selecting("FROM secrets WHERE account = ? AND region = ? AND name = ?")
	dueQuery  = selecting("FROM secrets WHERE due_at <= ? ORDER BY due_at, name, id LIMIT ?")
)

const (
	valueQuery = `SELECT v.sealed FROM secrets s JOIN versions v ON v.secret_id = s.id
		WHERE s.account = ? AND s.region = ? AND s.name = ? AND s.suffix = ? AND s.partition = ?
		AND v.id = ? AND v.sealed IS NOT NULL`
	idQuery = `SELECT id FROM secrets
		WHERE account = ? AND region = ? AND name = ? AND suffix = ? AND partition = ?`
	purgeableQuery = `SELECT partition, region, account, name, suffix FROM secrets
		WHERE purge_at <= ? ORDER BY purge_at, id LIMIT ?`
	behindQuery = `SELECT partition, region, account, name, suffix FROM secrets
		WHERE follow_at <= ? ORDER BY follow_at, id LIMIT ?`
)

func (s *Store) prepareQueries(ctx context.Context) error {
	s.queries = make(map[string]*sql.Stmt)
	texts := []string{findQuery.secrets, findQuery.versions, dueQuery.secrets, dueQuery.versions,
		valueQuery, idQuery, purgeableQuery, behindQuery, placesQuery}
	for _, q := range listQueries {
		texts = append(texts, q.secrets, q.versions)
	}
	for _, q := range texts {
		stmt, err := s.readers.PrepareContext(ctx, q)
		if err != nil {
			return err
		}
		s.queries[q] = stmt
	}
	return nil
}

// Find implements service.Store.
func (s *Store) Find(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	a := id.ARN
	found, err := s.records(ctx, findQuery, a.Account, a.Region, a.Name)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || !id.ByName && found[0].ARN.Suffix != a.Suffix || a.Partition != "" && found[0].ARN.Partition != a.Partition {
		return nil, service.ErrNotFound
	}
	return found[0], nil
}

// Due implements service.Store.
func (s *Store) Due(ctx context.Context, before time.Time, n int) ([]*service.Secret, error) {
	return s.records(ctx, dueQuery, before.UnixMicro(), max(n, 0))
}

// records reads a selection as it is at one moment.
func (s *Store) records(ctx context.Context, q selection, args ...any) ([]*service.Secret, error) {
	tx, err := s.readers.BeginTx(ctx, nil)
	if err != nil {
		return nil, classify(s.path, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	found, err := q.read(func(statement string) (*sql.Rows, error) {
		return tx.StmtContext(ctx, s.queries[statement]).QueryContext(ctx, args...)
	})
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
	var sealed []byte
	err := s.one(ctx, &sealed, valueQuery, a.Account, a.Region, a.Name, a.Suffix, a.Partition, versionID)
	return sealed, err
}

func (s *Store) one(ctx context.Context, dest any, query string, args ...any) error {
	err := s.queries[query].QueryRowContext(ctx, args...).Scan(dest)
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
	rows, err := s.queries[query].QueryContext(ctx, now.UnixMicro(), max(n, 0))
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
func (s *Store) Lock(ctx context.Context, a secrets.ARN) (func(), error) {
	var id int64
	if err := s.one(ctx, &id, idQuery, a.Account, a.Region, a.Name, a.Suffix, a.Partition); err != nil {
		return nil, err
	}
	release, err := s.locks.claim(id)
	return release, secrets.At(err, a.Name, "", "")
}
