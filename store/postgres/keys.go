package postgres

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

var _ seal.Store = (*Store)(nil)

const namedKeysQuery = "SELECT id, record FROM pawl.named_keys ORDER BY alias"

// keyRows are named keys, also as they are in the database, by id.
type keyRows struct {
	keys  []seal.NamedKey
	texts map[string]string
}

func (k *keyRows) add(row pgx.Rows) error {
	var id, text string
	if err := row.Scan(&id, &text); err != nil {
		return err
	}
	var key seal.NamedKey
	if err := json.Unmarshal([]byte(text), &key); err != nil {
		return secrets.Errorf(secrets.Invalid, "key %s in the database: %w", id, err).WithHint(remedyDamaged)
	}
	k.keys, k.texts[id] = append(k.keys, key), text
	return nil
}

// NamedKeys implements seal.Store.
func (s *Store) NamedKeys(ctx context.Context) ([]seal.NamedKey, error) {
	var found keyRows
	err := s.each(ctx, namedKeysQuery, nil, func() { found = keyRows{texts: map[string]string{}} }, func(rows pgx.Rows) error { return found.add(rows) })
	if err != nil {
		return nil, err
	}
	return found.keys, nil
}

// ChangeNamedKeys implements seal.Store. What changes nothing writes nothing.
func (s *Store) ChangeNamedKeys(ctx context.Context, change func([]seal.NamedKey) ([]seal.NamedKey, error)) error {
	var old keyRows
	return s.changeSettings(ctx, func(b *pgx.Batch) {
		b.Queue(namedKeysQuery).Query(func(rows pgx.Rows) error {
			old = keyRows{texts: map[string]string{}}
			for rows.Next() {
				if err := old.add(rows); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	}, func(b *pgx.Batch) error {
		keys, err := change(old.keys)
		if err != nil {
			return err
		}
		next, err := encodeNamedKeys(keys)
		if err != nil {
			return err
		}
		// First all that goes, so that a key may take another one's alias.
		for id, text := range old.texts {
			if next[id] != text {
				b.Queue("DELETE FROM pawl.named_keys WHERE id = $1", id)
			}
		}
		for _, k := range keys {
			if text := next[k.ID]; text != old.texts[k.ID] {
				b.Queue("INSERT INTO pawl.named_keys (id, alias, record) VALUES ($1, $2, $3)", k.ID, k.Alias, text)
			}
		}
		return nil
	}, nil)
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
		var w texts
		w.columns(k.ID, k.Alias)
		k.Created = k.Created.UTC()
		k.Generations = slices.Clone(k.Generations)
		for i := range k.Generations {
			g := &k.Generations[i]
			w.check(g.ID)
			g.Created = g.Created.UTC()
		}
		text := w.json(k)
		if w.err != nil {
			return nil, secrets.Errorf(secrets.Invalid, "key %s: %w", k.Alias, w.err)
		}
		out[k.ID], aliases[k.Alias] = text, true
	}
	return out, nil
}
