package postgres

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// What readers select. A row of secretColumns is scanned by scanSecret.
const (
	secretColumns = "s.id, s.partition, s.region, s.account, s.name, s.suffix, s.record, s.writes"

	// findQuery reads the value that will be asked for next, too, unless it is large.
	findQuery = "SELECT " + secretColumns + `, v.version_id, v.value FROM pawl.secrets s
		LEFT JOIN pawl.sealed_values v ON v.secret_id = s.id AND v.version_id = s.current_version AND octet_length(v.value) <= 8192
		WHERE s.account = $1 AND s.region = $2 AND s.name = $3`
	valueQuery = `SELECT v.value FROM pawl.secrets s JOIN pawl.sealed_values v ON v.secret_id = s.id AND v.version_id = $6
		WHERE s.account = $1 AND s.region = $2 AND s.name = $3 AND s.suffix = $4 AND s.partition = $5`

	// unclaimed leaves out what somebody rotates. The leases are read once, into a
	// table of the statement's own.
	unclaimed = "s.id NOT IN (SELECT l.secret_id FROM pawl.leases l WHERE l.until > now())"
	dueQuery  = "SELECT " + secretColumns + ` FROM pawl.secrets s
		WHERE s.due_at <= $1 AND (s.due_at, s.name, s.account, s.region) > ($2, $3, $4, $5) AND ` + unclaimed + `
		ORDER BY s.due_at, s.name, s.account, s.region LIMIT $6`
	backlogQuery = `SELECT count(*), min(due_at) FROM (SELECT s.due_at FROM pawl.secrets s
		WHERE s.due_at <= $1 AND ` + unclaimed + ` ORDER BY s.due_at LIMIT $2) due`

	arnColumns     = "s.partition, s.region, s.account, s.name, s.suffix"
	purgeableQuery = "SELECT " + arnColumns + " FROM pawl.secrets s WHERE s.purge_at <= $1 ORDER BY s.purge_at, s.id LIMIT $2"
	behindQuery    = "SELECT " + arnColumns + " FROM pawl.secrets s WHERE s.follow_at <= $1 ORDER BY s.follow_at, s.id LIMIT $2"
)

// dest is where a row of secretColumns goes.
func (r *stored) dest(more ...any) []any {
	a := &r.arn
	return append([]any{&r.id, &a.Partition, &a.Region, &a.Account, &a.Name, &a.Suffix, &r.record, &r.writes}, more...)
}

// readSecret asks the database for the secret in a place, with the value of its
// AWSCURRENT. Errors: service.ErrNotFound.
func (s *Store) readSecret(ctx context.Context, p place) (*stored, error) {
	if !columnText(p.account, p.region, p.name) {
		return nil, service.ErrNotFound
	}
	r := &stored{}
	var version *string
	var value []byte
	err := s.pool.QueryRow(ctx, findQuery, p.account, p.region, p.name).Scan(r.dest(&version, &value)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, service.ErrNotFound
	}
	if err != nil {
		return nil, s.classify(err)
	}
	if version != nil {
		r.values = service.Sealed{*version: value}
	}
	return r, nil
}

// readValue asks the database for the encrypted value of a version. Errors:
// service.ErrNotFound.
func (s *Store) readValue(ctx context.Context, a secrets.ARN, versionID string) (sealed []byte, err error) {
	if !columnText(a.Account, a.Region, a.Name, a.Suffix, a.Partition, versionID) {
		return nil, service.ErrNotFound
	}
	err = s.pool.QueryRow(ctx, valueQuery, a.Account, a.Region, a.Name, a.Suffix, a.Partition, versionID).Scan(&sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, service.ErrNotFound
	}
	return sealed, s.classify(err)
}

// Due implements service.Store. What anybody rotates is left out.
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
	err = s.retry(ctx, func(ctx context.Context) error {
		var first *int64
		err := s.pool.QueryRow(ctx, backlogQuery, before.UnixMicro(), max(most, 0)).Scan(&n, &first)
		if first != nil {
			oldest = time.UnixMicro(*first).UTC()
		}
		return s.classify(err)
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	return n, oldest, nil
}

// Purgeable implements service.Store.
func (s *Store) Purgeable(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error) {
	return s.arns(ctx, purgeableQuery, now, n)
}

// Behind implements service.Store.
func (s *Store) Behind(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error) {
	return s.arns(ctx, behindQuery, now, n)
}

func (s *Store) arns(ctx context.Context, query string, now time.Time, n int) (out []secrets.ARN, err error) {
	err = s.each(ctx, query, []any{now.UnixMicro(), max(n, 0)}, func() { out = nil }, func(rows pgx.Rows) error {
		var a secrets.ARN
		err := rows.Scan(&a.Partition, &a.Region, &a.Account, &a.Name, &a.Suffix)
		out = append(out, a)
		return err
	})
	return out, err
}

// records runs a query for secretColumns.
func (s *Store) records(ctx context.Context, query string, args ...any) (out []*service.Secret, err error) {
	err = s.each(ctx, query, args, func() { out = nil }, func(rows pgx.Rows) error {
		var r stored
		if err := rows.Scan(r.dest()...); err != nil {
			return err
		}
		sec, err := r.decode()
		out = append(out, sec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each runs a query of a reader and calls row for each of its rows; begin before,
// and again where it has to be asked anew.
func (s *Store) each(ctx context.Context, query string, args []any, begin func(), row func(pgx.Rows) error) error {
	return s.retry(ctx, func(ctx context.Context) error {
		begin()
		rows, err := s.pool.Query(ctx, query, args...)
		if err != nil {
			return s.classify(err)
		}
		defer rows.Close()
		for rows.Next() {
			if err := row(rows); err != nil {
				return s.classify(err)
			}
		}
		return s.classify(rows.Err())
	})
}
