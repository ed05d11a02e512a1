package sqlite

import (
	"context"

	"github.com/pawlhq/pawl/service"
)

const countQuery = "SELECT count(*) FROM (SELECT 1 FROM secrets WHERE account = ? AND region = ? LIMIT ?)"

// Count returns how many secrets there are in a place, counting no further than
// most.
func (s *Store) Count(ctx context.Context, p service.Place, most int) (n int, err error) {
	return s.number(ctx, countQuery, p.Account, p.Region, max(most, 0))
}

// Schema returns the version of the schema.
func (s *Store) Schema(ctx context.Context) (int, error) { return s.number(ctx, "PRAGMA user_version") }

// number asks a query whose answer is one.
func (s *Store) number(ctx context.Context, query string, args ...any) (n int, err error) {
	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return 0, classify(s.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return 0, classify(s.path, err)
		}
	}
	return n, classify(s.path, rows.Err())
}
