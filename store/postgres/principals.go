package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
)

var _ principals.Store = (*Store)(nil)

// What readers select.
const (
	principalQuery = "SELECT record FROM pawl.principals WHERE account = $1 AND name = $2"
	holderQuery    = "SELECT record FROM pawl.principals WHERE id = (SELECT principal_id FROM pawl.access_keys WHERE id = $1)"
	everyoneQuery  = "SELECT record FROM pawl.principals WHERE (account, name) > ($1, $2) ORDER BY account, name LIMIT $3"
	accountQuery   = "SELECT record FROM pawl.principals WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3"
	usesQuery      = "SELECT id, last_used FROM pawl.access_keys WHERE last_used IS NOT NULL AND id = ANY ($1::text[])"
)

// Principal implements principals.Store.
func (s *Store) Principal(ctx context.Context, account, name string) (*principals.Record, error) {
	return s.principal(ctx, principalQuery, account, name)
}

// Holder implements principals.Store.
func (s *Store) Holder(ctx context.Context, keyID string) (*principals.Record, error) {
	return s.principal(ctx, holderQuery, keyID)
}

func (s *Store) principal(ctx context.Context, query string, keys ...string) (*principals.Record, error) {
	if !columnText(keys...) {
		return nil, principals.ErrNotFound
	}
	args := make([]any, len(keys))
	for i, k := range keys {
		args[i] = k
	}
	var text string
	err := s.retry(ctx, func(ctx context.Context) error {
		err := s.pool.QueryRow(ctx, query, args...).Scan(&text)
		if errors.Is(err, pgx.ErrNoRows) {
			return principals.ErrNotFound
		}
		return s.classify(err)
	})
	if err != nil {
		return nil, err
	}
	return decodePrincipal(text)
}

// Principals implements principals.Store.
func (s *Store) Principals(ctx context.Context, account string, after principals.Place, n int) (out []*principals.Record, err error) {
	query, args := everyoneQuery, []any{after.Account, after.Name}
	if account != "" {
		query, args = accountQuery, []any{account, after.Name}
		switch {
		case after.Account > account:
			return nil, nil
		case after.Account < account:
			args[1] = ""
		}
	}
	err = s.each(ctx, query, append(args, max(n, 0)), func() { out = nil }, func(rows pgx.Rows) error {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		r, err := decodePrincipal(text)
		out = append(out, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// CreatePrincipal implements principals.Store.
func (s *Store) CreatePrincipal(ctx context.Context, r *principals.Record) error {
	text, err := encodePrincipal(r)
	if err != nil {
		return err
	}
	keys := keyIDs(r)
	return s.changeSettings(ctx, nil, func(b *pgx.Batch) error {
		b.Queue(`WITH made AS (
				INSERT INTO pawl.principals (account, name, record) VALUES ($1, $2, $3) RETURNING id
			) INSERT INTO pawl.access_keys (id, principal_id) SELECT k.id, made.id FROM made, unnest($4::text[]) AS k (id)`,
			r.Account, r.Name, text, keys)
		return nil
	}, principals.ErrExists)
}

// ChangePrincipal implements principals.Store. What changes nothing writes
// nothing.
func (s *Store) ChangePrincipal(ctx context.Context, account, name string, change func(*principals.Record) error) (*principals.Record, error) {
	if !columnText(account, name) {
		return nil, principals.ErrNotFound
	}
	var out *principals.Record
	var id int64
	var text string
	err := s.changeSettings(ctx, func(b *pgx.Batch) {
		b.Queue("SELECT id, record FROM pawl.principals WHERE account = $1 AND name = $2", account, name).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&id, &text)
			if errors.Is(err, pgx.ErrNoRows) {
				return principals.ErrNotFound
			}
			return err
		})
	}, func(b *pgx.Batch) error {
		r, err := decodePrincipal(text)
		if err != nil {
			return err
		}
		old := keyIDs(r)
		err = change(r)
		if errors.Is(err, principals.ErrRemove) {
			out = r
			b.Queue("DELETE FROM pawl.principals WHERE id = $1", id)
			return nil
		}
		if err != nil {
			return err
		}
		if r.Account != account || r.Name != name {
			return secrets.Errorf(secrets.Invalid, "the name and the account of principal %q cannot change", name)
		}
		next, err := encodePrincipal(r)
		if err != nil {
			return err
		}
		if next != text {
			b.Queue("UPDATE pawl.principals SET record = $2 WHERE id = $1", id, next)
			queueKeys(b, id, old, keyIDs(r))
		}
		out, err = decodePrincipal(next)
		return err
	}, principals.ErrExists)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// queueKeys makes the access keys of a principal, which were old, those of next.
// A key that stays keeps when it was last used.
func queueKeys(b *pgx.Batch, principal int64, old, next []string) {
	gone := slices.DeleteFunc(slices.Clone(old), func(id string) bool { return slices.Contains(next, id) })
	if len(gone) > 0 {
		b.Queue("DELETE FROM pawl.access_keys WHERE id = ANY ($1::text[])", gone)
	}
	var added []string
	for i, id := range next {
		if !slices.Contains(old, id) || slices.Contains(next[:i], id) { // the server refuses one that is there twice
			added = append(added, id)
		}
	}
	if len(added) > 0 {
		b.Queue("INSERT INTO pawl.access_keys (id, principal_id) SELECT k.id, $2 FROM unnest($1::text[]) AS k (id)", added, principal)
	}
}

// NoteUse implements principals.Store. Of two uses the later one counts,
// whichever comes first.
func (s *Store) NoteUse(ctx context.Context, keyID string, at time.Time) error {
	if !columnText(keyID) {
		return nil
	}
	return s.twice(ctx, func(ctx context.Context, _ bool) (bool, error) {
		return s.once(ctx, `WITH noted AS (
				UPDATE pawl.access_keys SET last_used = $2 WHERE id = $1 AND coalesce(last_used < $2, true) RETURNING id
			) SELECT count(*) FROM noted`, []any{keyID, at.UnixMicro()}, new(int))
	})
}

// LastUses implements principals.Store.
func (s *Store) LastUses(ctx context.Context, keyIDs []string) (out map[string]time.Time, err error) {
	keyIDs = slices.DeleteFunc(slices.Clone(keyIDs), func(id string) bool { return !columnText(id) })
	begin := func() { out = map[string]time.Time{} }
	err = s.each(ctx, usesQuery, []any{keyIDs}, begin, func(rows pgx.Rows) error {
		var id string
		var us int64
		err := rows.Scan(&id, &us)
		out[id] = time.UnixMicro(us).UTC()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func keyIDs(r *principals.Record) []string {
	ids := make([]string, len(r.Keys))
	for i, k := range r.Keys {
		ids[i] = k.ID
	}
	return ids
}

// encodePrincipal renders a record for the database. The error is Invalid: a
// text is not UTF-8, which JSON would silently mend.
func encodePrincipal(r *principals.Record) (string, error) {
	var w texts
	w.columns(r.Account, r.Name)
	w.check(string(r.Kind), r.ID, r.Boundary, r.Trust)
	for _, t := range r.Tags {
		w.check(t.Key, t.Value)
	}
	for _, p := range r.Policies {
		w.check(p.Name, p.Document)
	}
	out := *r
	out.Created, out.SessionsSince = r.Created.UTC(), r.SessionsSince.UTC()
	out.Keys = slices.Clone(r.Keys)
	for i := range out.Keys {
		w.columns(out.Keys[i].ID)
		out.Keys[i].Created = out.Keys[i].Created.UTC()
	}
	text := w.json(out)
	if w.err != nil {
		return "", secrets.Errorf(secrets.Invalid, "principal %q: %w", r.Name, w.err)
	}
	return text, nil
}

func decodePrincipal(text string) (*principals.Record, error) {
	var r principals.Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "a principal in the database: %w", err).WithHint(remedyDamaged)
	}
	return &r, nil
}
