package sqlite

import (
	"context"
	"strings"

	"github.com/pawlhq/pawl/service"
)

// placesQuery hops from one account and region to the next, instead of reading
// the index of all secrets.
const placesQuery = `WITH RECURSIVE place (account, region) AS (
		SELECT * FROM (SELECT account, region FROM secrets ORDER BY account, region LIMIT 1)
		UNION ALL
		SELECT next.account, next.region FROM place JOIN secrets AS next ON next.id = (
			SELECT id FROM secrets
			WHERE (account, region) > (place.account, place.region)
			ORDER BY account, region LIMIT 1)
	) SELECT account, region FROM place`

// Places implements service.Store.
func (s *Store) Places(ctx context.Context) ([]service.Place, error) {
	rows, err := s.queries[placesQuery].QueryContext(ctx)
	if err != nil {
		return nil, classify(s.path, err)
	}
	defer rows.Close()
	var out []service.Place
	for rows.Next() {
		var p service.Place
		if err := rows.Scan(&p.Account, &p.Region); err != nil {
			return nil, classify(s.path, err)
		}
		out = append(out, p)
	}
	return out, classify(s.path, rows.Err())
}

// listing is what a listing's statement depends on; all else is parameters.
type listing struct {
	order      service.Order
	descending bool
	prefixed   bool
	resumed    bool // begins after a place in it
}

// listQueries are the selections of all listings there can be.
var listQueries = func() map[listing]selection {
	columns := map[service.Order]string{
		service.ByName: "", service.ByCreated: "created", service.ByChanged: "changed", service.ByAccessed: "ifnull(accessed, 0)",
	}
	m := map[listing]selection{}
	for order, column := range columns {
		for i := range 8 {
			l := listing{order, i&1 != 0, i&2 != 0, i&4 != 0}
			m[l] = l.selection(column)
		}
	}
	return m
}()

func (l listing) selection(column string) selection {
	where := []string{"account = ? AND region = ?"}
	if l.prefixed {
		where = append(where, "name >= ? AND name < ?")
	}
	op, dir := ">", ""
	if l.descending {
		op, dir = "<", " DESC"
	}
	sorted := "name" + dir
	if column != "" {
		sorted = column + dir + ", " + sorted
	}
	switch {
	case l.resumed && column != "":
		where = append(where, "("+column+", name) "+op+" (?, ?)")
	case l.resumed:
		where = append(where, "name "+op+" ?")
	}
	return selecting("FROM secrets WHERE " + strings.Join(where, " AND ") + " ORDER BY " + sorted + " LIMIT ?")
}

// List implements service.Store.
func (s *Store) List(ctx context.Context, l service.Listing) ([]*service.Secret, error) {
	key := listing{order: l.Order, descending: l.Descending, prefixed: l.Prefix != "", resumed: l.After != service.Position{}}
	args := []any{l.Account, l.Region}
	if key.prefixed {
		// No text begins with the byte 0xff, so this is after all with the prefix.
		args = append(args, l.Prefix, l.Prefix+"\xff")
	}
	if key.resumed {
		if l.Order != service.ByName {
			at := int64(0)
			if !l.After.At.IsZero() {
				at = l.After.At.UnixMicro()
			}
			args = append(args, at)
		}
		args = append(args, l.After.Name)
	}
	return s.records(ctx, listQueries[key], append(args, max(l.N, 0))...)
}
