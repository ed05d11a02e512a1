package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/service"
)

// placesQuery hops from one account and region to the next, instead of reading
// the index of all secrets.
const placesQuery = `WITH RECURSIVE place (account, region) AS (
		(SELECT account, region FROM pawl.secrets ORDER BY account, region LIMIT 1)
		UNION ALL
		SELECT next.account, next.region FROM place CROSS JOIN LATERAL (
			SELECT s.account, s.region FROM pawl.secrets s WHERE (s.account, s.region) > (place.account, place.region)
			ORDER BY s.account, s.region LIMIT 1
		) next
	) SELECT account, region FROM place`

// Places implements service.Store.
func (s *Store) Places(ctx context.Context) (out []service.Place, err error) {
	err = s.each(ctx, placesQuery, nil, func() { out = nil }, func(rows pgx.Rows) error {
		var p service.Place
		err := rows.Scan(&p.Account, &p.Region)
		out = append(out, p)
		return err
	})
	return out, err
}

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

const fewQuery = `SELECT count(*) FROM (SELECT FROM pawl.secrets
	WHERE account = $1 AND region = $2 AND name >= $3 AND name < $4 LIMIT $5) those`

// listQueries are the statements of all listings there can be.
var listQueries = func() map[listing]string {
	m := map[listing]string{}
	for order := range listColumns {
		for i := range 16 {
			l := listing{service.Order(order), i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0}
			if l.few && (!l.prefixed || l.order == service.ByName) {
				continue // the names are in order
			}
			m[l] = l.statement()
		}
	}
	return m
}()

// listColumns are what listings are sorted by.
var listColumns = []string{service.ByName: "name", service.ByCreated: "created", service.ByChanged: "changed", service.ByAccessed: "accessed"}

func (l listing) statement() string {
	params := 2
	param := func() string { params++; return fmt.Sprintf("$%d", params) }
	where := []string{"s.account = $1 AND s.region = $2"}
	if l.order != service.ByName && !l.few {
		where[0] = "s.place = $1::text || '/' || $2::text"
	}
	if l.prefixed {
		where = append(where, "s.name >= "+param()+" AND s.name < "+param())
	}
	op, dir := ">", ""
	if l.descending {
		op, dir = "<", " DESC"
	}
	column := "s." + listColumns[l.order]
	place, sorted := "", "s.name"+dir
	if l.order != service.ByName {
		sorted = column + dir + ", " + sorted
	}
	if l.resumed && l.order == service.ByName {
		place = "s.name " + op + " " + param()
	} else if l.resumed {
		place = "(" + column + ", s.name) " + op + " (" + param() + ", " + param() + ")"
	}
	from := "pawl.secrets s WHERE "
	switch {
	case l.few:
		// Materialized, so that the planner can't take the index of the order.
		from = "few s"
		if l.resumed {
			from += " WHERE " + place
		}
		return "WITH few AS MATERIALIZED (SELECT * FROM pawl.secrets s WHERE " + strings.Join(where, " AND ") + ") SELECT " +
			secretColumns + " FROM " + from + " ORDER BY " + sorted + " LIMIT " + param()
	case l.resumed:
		where = append(where, place)
	}
	return "SELECT " + secretColumns + " FROM " + from + strings.Join(where, " AND ") + " ORDER BY " + sorted + " LIMIT " + param()
}

// afterAll is the last character there is.
const afterAll = "\U0010ffff"

// List implements service.Store.
func (s *Store) List(ctx context.Context, l service.Listing) ([]*service.Secret, error) {
	key := listing{order: l.Order, descending: l.Descending, prefixed: l.Prefix != "", resumed: l.After != service.Position{}}
	args := []any{l.Account, l.Region}
	if !columnText(l.Account, l.Region, l.Prefix, l.After.Name) {
		return nil, nil
	}
	if key.prefixed {
		args = append(args, l.Prefix, l.Prefix+afterAll)
	}
	if key.prefixed && l.Order != service.ByName {
		var n int
		err := s.retry(ctx, func(ctx context.Context) error {
			return s.classify(s.pool.QueryRow(ctx, fewQuery, append(args, few+1)...).Scan(&n))
		})
		if err != nil {
			return nil, err
		}
		key.few = n <= few
	}
	if key.resumed {
		if l.Order != service.ByName {
			args = append(args, micros1970(l.After.At))
		}
		args = append(args, l.After.Name)
	}
	return s.records(ctx, listQueries[key], append(args, max(l.N, 0))...)
}
