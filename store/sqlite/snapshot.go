package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// Snapshot is all that a store has, as it was at one moment: what anybody writes
// meanwhile is not in it, and nobody is kept from writing. Until it is over the
// write-ahead log only grows.
type Snapshot struct {
	ctx  context.Context
	path string
	tx   *sql.Tx
}

// Size counts what is in a Snapshot.
type Size struct{ Secrets, Values, Principals, Keys int }

// Snapshot gives read a Snapshot, which is over when read returns.
func (s *Store) Snapshot(ctx context.Context, read func(*Snapshot) error) error {
	tx, err := s.readers.BeginTx(ctx, nil)
	if err != nil {
		return classify(s.path, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	n := &Snapshot{ctx, s.path, tx}
	// SQLite begins to see at the first look.
	if _, err := n.Schema(); err != nil {
		return err
	}
	return read(n)
}

func (n *Snapshot) query(query string, args ...any) (*sql.Rows, error) {
	return n.tx.QueryContext(n.ctx, query, args...)
}

// each calls visit with every row's values, which are overwritten by the next.
func (n *Snapshot) each(columns int, visit func([]any) error, query string, args ...any) error {
	var stopped error
	err := each(func() (*sql.Rows, error) { return n.query(query, args...) }, columns, func(v []any) {
		if stopped == nil {
			stopped = visit(v)
		}
	})
	if err == nil {
		err = stopped
	}
	return classify(n.path, err)
}

// Schema is the version of the schema.
func (n *Snapshot) Schema() (version int, err error) {
	return version, classify(n.path, n.tx.QueryRowContext(n.ctx, "PRAGMA user_version").Scan(&version))
}

// Size counts what there is.
func (n *Snapshot) Size() (size Size, err error) {
	err = n.tx.QueryRowContext(n.ctx, `SELECT (SELECT count(*) FROM secrets), (SELECT count(*) FROM versions WHERE value_id IS NOT NULL),
		(SELECT count(*) FROM principals), (SELECT count(*) FROM named_keys)`).Scan(&size.Secrets, &size.Values, &size.Principals, &size.Keys)
	return size, classify(n.path, err)
}

// Kept calls yield with what is kept by Remember and Keep, by name.
func (n *Snapshot) Kept(yield func(name string, value []byte) error) error {
	kept := map[string][]byte{}
	err := n.each(2, func(v []any) error {
		kept[v[0].(string)] = slices.Clone(v[1].([]byte))
		return nil
	}, "SELECT name, value FROM meta")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if err := yield(name, kept[name]); err != nil {
			return err
		}
	}
	return nil
}

// NamedKeys are the keys, by alias.
func (n *Snapshot) NamedKeys() ([]seal.NamedKey, error) {
	keys, _, err := namedKeys(func() (*sql.Rows, error) { return n.query(namedKeysQuery) })
	return keys, classify(n.path, err)
}

// Principals calls yield with all principals, by account and name, and when their
// access keys were last used.
func (n *Snapshot) Principals(yield func(r *principals.Record, used map[string]time.Time) error) error {
	// In pages, lest yield, which may take its time, have a statement open.
	const page = 100
	for after := (principals.Place{}); ; {
		var found []*principals.Record
		var ids []string
		err := n.each(1, func(v []any) error {
			r, err := decodePrincipal(v[0].(string))
			if err == nil {
				found, ids = append(found, r), append(ids, keyIDs(r)...)
			}
			return err
		}, everyoneQuery, after.Account, after.Name, page)
		if err != nil || len(found) == 0 {
			return err
		}
		used, err := n.uses(ids)
		if err != nil {
			return err
		}
		for _, r := range found {
			his := maps.Clone(used)
			maps.DeleteFunc(his, func(id string, _ time.Time) bool { return !slices.Contains(keyIDs(r), id) })
			if err := yield(r, his); err != nil {
				return err
			}
			after = principals.Place{Account: r.Account, Name: r.Name}
		}
	}
}

func (n *Snapshot) uses(keyIDs []string) (map[string]time.Time, error) {
	ids, err := json.Marshal(keyIDs)
	if err != nil {
		return nil, err
	}
	used := map[string]time.Time{}
	err = n.each(2, func(v []any) error {
		used[v[0].(string)] = time.UnixMicro(v[1].(int64)).UTC()
		return nil
	}, usesQuery, string(ids))
	return used, err
}

// everySecret reads the secrets after a place, by account, region and name.
var everySecret = selecting("FROM secrets WHERE (account, region, name) > (?, ?, ?) ORDER BY account, region, name LIMIT ?")

// sealedQuery reads the values of the secrets whose ids are given as a JSON array.
const sealedQuery = `SELECT v.secret_id, v.id, x.value FROM versions v JOIN sealed_values x ON x.id = v.value_id
	WHERE v.secret_id IN (SELECT value FROM json_each(?))`

// Secrets calls yield with all secrets, by account, region and name, and all their
// encrypted values. An error is Invalid where a value is missing.
func (n *Snapshot) Secrets(yield func(*service.Secret, service.Sealed) error) error {
	const page = 50
	for after := (secrets.ARN{}); ; {
		found, err := readMany(n.query, everySecret, after.Account, after.Region, after.Name, page)
		if err != nil {
			return classify(n.path, err)
		}
		if len(found) == 0 {
			return nil
		}
		values, err := n.values(found)
		if err != nil {
			return err
		}
		for i := range found {
			sec, err := found[i].decode()
			if err != nil {
				return err
			}
			sealed := values[found[i].id]
			for _, v := range sec.Versions {
				if _, ok := sealed[v.ID]; ok == v.Empty {
					return secrets.Errorf(secrets.Invalid, "the store %s is damaged: the value of version %s of %s is missing", n.path, v.ID, sec.ARN).
						WithHint("%s", remedyDamaged)
				}
			}
			if err := yield(sec, sealed); err != nil {
				return err
			}
			after = sec.ARN
		}
	}
}

// values reads the values of secrets, by their ids.
func (n *Snapshot) values(found []stored) (map[int64]service.Sealed, error) {
	ids := []byte{'['}
	out := make(map[int64]service.Sealed, len(found))
	for i, f := range found {
		if i > 0 {
			ids = append(ids, ',')
		}
		ids = strconv.AppendInt(ids, f.id, 10)
		out[f.id] = service.Sealed{}
	}
	err := n.each(3, func(v []any) error {
		out[v[0].(int64)][v[1].(string)] = slices.Clone(v[2].([]byte))
		return nil
	}, sealedQuery, string(append(ids, ']')))
	return out, err
}

// Check reads the whole file and makes sure that it is sound, as far as SQLite can
// tell. Errors: Invalid where it is not.
func (s *Store) Check(ctx context.Context) error {
	for _, look := range []string{"PRAGMA integrity_check(1)", "SELECT 'a row of ' || \"table\" || ' belongs to nobody' FROM pragma_foreign_key_check LIMIT 1"} {
		var said string
		rows, err := s.readers.QueryContext(ctx, look)
		if err != nil {
			return classify(s.path, err)
		}
		for rows.Next() {
			if err = rows.Scan(&said); err != nil {
				break
			}
		}
		if err := classify(s.path, firstError(err, rows.Err(), rows.Close())); err != nil {
			return err
		}
		if said != "ok" && said != "" {
			return secrets.Errorf(secrets.Invalid, "the store %s is damaged: %s", s.path, said).WithHint("%s", remedyDamaged)
		}
	}
	return nil
}

// firstError returns the first error.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
