package sqlite

import (
	"context"
	"strings"

	"github.com/pawlhq/pawl/service"
)

// placesQuery hops from one account and region to the next, instead of reading
// the index of all secrets.
//
// Left to itself, SQLite may take any index that begins with account and region.
const placesQuery = `WITH RECURSIVE place (account, region) AS (
		SELECT * FROM (SELECT account, region FROM secrets INDEXED BY ` + namesIndex + ` ORDER BY account, region LIMIT 1)
		UNION ALL
		SELECT next.account, next.region FROM place JOIN secrets AS next ON next.id = coalesce(
			(SELECT id FROM secrets INDEXED BY ` + namesIndex + `
			WHERE account = place.account AND region > place.region ORDER BY region LIMIT 1),
			(SELECT id FROM secrets INDEXED BY ` + namesIndex + `
			WHERE account > place.account ORDER BY account, region LIMIT 1))
	) SELECT account, region FROM place`

// Places implements service.Store.
func (s *Store) Places(ctx context.Context) ([]service.Place, error) {
	rows, err := s.query(ctx, placesQuery)
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

// namesIndex is the index of UNIQUE (account, region, name).
const namesIndex = "sqlite_autoindex_secrets_1"

// listing is what a listing's statement depends on; all else is parameters.
type listing struct {
	order      service.Order
	descending bool
	prefixed   bool
	few        bool // with the prefix
	resumed    bool // begins after a place in it
}

// few secrets with a prefix are all looked up by their names and then sorted.
// Where there are more, the index of the order is read until enough have the
// prefix, which soon happens: of 100,000 secrets, with a page of 100, after
// 10,000 entries of the index at the worst, unless they are clustered.
const few = 1000

const fewQuery = `SELECT count(*) FROM (SELECT 1 FROM secrets
	WHERE account = ? AND region = ? AND name >= ? AND name < ? LIMIT ?)`

// listQueries are the statements of all listings there can be.
var listQueries = func() map[listing]string {
	m := map[listing]string{}
	columns := []string{"name", "created", "changed", "accessed_or_1970"}
	indexes := []string{namesIndex, "secrets_created", "secrets_changed", "secrets_accessed"}
	for order, column := range columns {
		for i := range 16 {
			l := listing{service.Order(order), i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0}
			if l.few && (!l.prefixed || l.order == service.ByName) {
				continue // the names are in order
			}
			if l.few {
				m[l] = l.statement(column, namesIndex)
			} else {
				m[l] = l.statement(column, indexes[order])
			}
		}
	}
	return m
}()

func (l listing) statement(column, index string) string {
	where := []string{"account = ? AND region = ?"}
	if l.prefixed {
		where = append(where, "name >= ? AND name < ?")
	}
	op, dir := ">", ""
	if l.descending {
		op, dir = "<", " DESC"
	}
	place, sorted := "(name) "+op+" (?)", "name"+dir
	if column != "name" {
		place, sorted = "("+column+", name) "+op+" (?, ?)", column+dir+", name"+dir
	}
	if l.resumed {
		where = append(where, place)
	}
	return selecting("FROM secrets INDEXED BY " + index + " WHERE " + strings.Join(where, " AND ") +
		" ORDER BY " + sorted + " LIMIT ?")
}

// List implements service.Store.
func (s *Store) List(ctx context.Context, l service.Listing) ([]*service.Secret, error) {
	key := listing{order: l.Order, descending: l.Descending, prefixed: l.Prefix != "", resumed: l.After != service.Position{}}
	args := []any{l.Account, l.Region}
	if key.prefixed {
		// No text begins with the byte 0xff, so this is after all with the prefix.
		args = append(args, l.Prefix, l.Prefix+"\xff")
	}
	if key.prefixed && l.Order != service.ByName {
		var n int
		if err := s.one(ctx, &n, fewQuery, append(args, few+1)...); err != nil {
			return nil, err
		}
		key.few = n <= few
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
