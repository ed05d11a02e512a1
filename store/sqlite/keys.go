package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

var _ seal.Store = (*Store)(nil)

const namedKeysQuery = "SELECT id, record FROM named_keys ORDER BY alias"

// NamedKeys implements seal.Store.
func (s *Store) NamedKeys(ctx context.Context) ([]seal.NamedKey, error) {
	keys, _, err := namedKeys(func() (*sql.Rows, error) { return s.query(ctx, namedKeysQuery) })
	return keys, classify(s.path, err)
}

// namedKeys runs namedKeysQuery, and returns the keys also as they are in the
// database, by id.
func namedKeys(query func() (*sql.Rows, error)) (keys []seal.NamedKey, texts map[string]string, err error) {
	texts = map[string]string{}
	var damaged error
	err = each(query, 2, func(v []any) {
		id, text := v[0].(string), v[1].(string)
		var k seal.NamedKey
		if err := json.Unmarshal([]byte(text), &k); err != nil {
			damaged = secrets.Errorf(secrets.Invalid, "key %s in the database: %w", id, err).WithHint(remedyDamaged)
		}
		keys, texts[id] = append(keys, k), text
	})
	if err == nil {
		err = damaged
	}
	if err != nil {
		return nil, nil, err
	}
	return keys, texts, nil
}

// ChangeNamedKeys implements seal.Store. What changes nothing writes nothing.
func (s *Store) ChangeNamedKeys(ctx context.Context, change func([]seal.NamedKey) ([]seal.NamedKey, error)) error {
	return s.w.transact(ctx, func() error {
		keys, old, err := namedKeys(func() (*sql.Rows, error) {
			stmt, err := s.w.prepare(namedKeysQuery)
			if err != nil {
				return nil, err
			}
			return stmt.Query()
		})
		if err != nil {
			return classify(s.path, err)
		}
		if keys, err = change(keys); err != nil {
			return err
		}
		next, err := encodeNamedKeys(keys)
		if err != nil {
			return err
		}
		// First all that goes, so that a key may take another one's alias.
		for id, text := range old {
			if next[id] != text {
				if _, err := s.w.exec("DELETE FROM named_keys WHERE id = ?", id); err != nil {
					return err
				}
			}
		}
		for _, k := range keys {
			if text := next[k.ID]; text != old[k.ID] {
				if _, err := s.w.exec("INSERT INTO named_keys (id, alias, record) VALUES (?, ?, ?)", k.ID, k.Alias, text); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// encodeNamedKeys renders keys for the database, by id. The error is Invalid: a
// text is not UTF-8, a key has nothing to seal with, or two keys have one id or
// alias.
func encodeNamedKeys(keys []seal.NamedKey) (map[string]string, error) {
	out := make(map[string]string, len(keys))
	aliases := make(map[string]bool, len(keys))
	for _, k := range keys {
		if _, ok := out[k.ID]; ok || aliases[k.Alias] {
			return nil, secrets.Errorf(secrets.Invalid, "two keys would be %s, or have the id %s", k.Alias, k.ID)
		}
		if len(k.Generations) == 0 {
			return nil, secrets.Errorf(secrets.Invalid, "key %s would have no material", k.Alias)
		}
		var w writer
		w.check(k.ID, k.Alias)
		k.Created = k.Created.UTC()
		k.Generations = slices.Clone(k.Generations)
		for i := range k.Generations {
			g := &k.Generations[i]
			w.check(g.ID)
			g.Created = g.Created.UTC()
		}
		w.json(k)
		if w.err != nil {
			return nil, secrets.Errorf(secrets.Invalid, "key %s: %w", k.Alias, w.err)
		}
		out[k.ID], aliases[k.Alias] = w.cols[0].(string), true
	}
	return out, nil
}
