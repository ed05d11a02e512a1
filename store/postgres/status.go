package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// LeaseInfo is a claim of a secret, as a person looks at it.
type LeaseInfo struct {
	ARN   secrets.ARN
	By    string // who he says he is: host, process and when it began
	Epoch int64
	// Silent is how long ago the store last heard of him, and Left how long the
	// claim lasts if he stays silent, by the database's clock. Where nothing is left
	// the claim is over, and the next who wants the secret gets it.
	Silent, Left time.Duration
}

const (
	leasesQuery = "SELECT " + arnColumns + `, l.holder, l.epoch, (extract(epoch FROM l.until - clock_timestamp()) * 1e6)::bigint
		FROM pawl.leases l JOIN pawl.secrets s ON s.id = l.secret_id ORDER BY l.until LIMIT $1`
	countQuery = "SELECT count(*) FROM (SELECT FROM pawl.secrets WHERE account = $1 AND region = $2 LIMIT $3) n"
)

// Leases returns up to n claims, those first that end first.
func (s *Store) Leases(ctx context.Context, n int) (out []LeaseInfo, err error) {
	err = s.each(ctx, leasesQuery, []any{max(n, 0)}, func() { out = nil }, func(rows pgx.Rows) error {
		var l LeaseInfo
		var left int64
		a := &l.ARN
		err := rows.Scan(&a.Partition, &a.Region, &a.Account, &a.Name, &a.Suffix, &l.By, &l.Epoch, &left)
		l.Left = time.Duration(left) * time.Microsecond
		l.Silent = max(0, service.LeaseTime-l.Left)
		out = append(out, l)
		return err
	})
	return out, err
}

// Count returns how many secrets there are in a place, counting no further than
// most.
func (s *Store) Count(ctx context.Context, p service.Place, most int) (n int, err error) {
	if !columnText(p.Account, p.Region) {
		return 0, nil
	}
	err = s.retry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, countQuery, p.Account, p.Region, max(most, 0)).Scan(&n)
	})
	return n, err
}

// Schema returns the version of the schema.
func (s *Store) Schema(context.Context) (int, error) {
	return newestVersion() // Open takes no other
}

// Server says which server it is that answers now, of several that were named, and
// which PostgreSQL that is.
func (s *Store) Server(ctx context.Context) (address, version string, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		address = conn.Conn().PgConn().Conn().RemoteAddr().String()
		return conn.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&version)
	})
	return address, version, err
}

// Now is the time by the database's clock.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
	})
	return now, err
}
