package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var _ principals.Store = (*Store)(nil)

// What readers select.
const (
	principalQuery = "SELECT record FROM principals WHERE account = ? AND name = ?"
	holderQuery    = "SELECT record FROM principals WHERE id = (SELECT principal_id FROM access_keys WHERE id = ?)"
	everyoneQuery  = "SELECT record FROM principals WHERE (account, name) > (?, ?) ORDER BY account, name LIMIT ?"
	accountQuery   = "SELECT record FROM principals WHERE account = ? AND name > ? ORDER BY name LIMIT ?"
	usesQuery      = "SELECT id, last_used FROM access_keys WHERE last_used IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
)

// Principal implements principals.Store.
func (s *Store) Principal(ctx context.Context, account, name string) (*principals.Record, error) {
	return s.principal(ctx, principalQuery, account, name)
}

// Holder implements principals.Store.
func (s *Store) Holder(ctx context.Context, keyID string) (*principals.Record, error) {
	return s.principal(ctx, holderQuery, keyID)
}

func (s *Store) principal(ctx context.Context, query string, args ...any) (*principals.Record, error) {
	var text string
	err := s.one(ctx, &text, query, args...)
	if errors.Is(err, service.ErrNotFound) {
		return nil, principals.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return decodePrincipal(text)
}

// Principals implements principals.Store.
func (s *Store) Principals(ctx context.Context, account string, after principals.Place, n int) ([]*principals.Record, error) {
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
	rows, err := s.query(ctx, query, append(args, max(n, 0))...)
	if err != nil {
		return nil, classify(s.path, err)
	}
	defer rows.Close()
	var out []*principals.Record
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, classify(s.path, err)
		}
		r, err := decodePrincipal(text)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, classify(s.path, rows.Err())
}

// CreatePrincipal implements principals.Store.
func (s *Store) CreatePrincipal(ctx context.Context, r *principals.Record) error {
	text, err := encodePrincipal(r)
	if err != nil {
		return err
	}
	keys := keyIDs(r)
	return s.w.transact(ctx, func() error {
		var id int64
		err := s.w.one(&id, "INSERT INTO principals (account, name, record) VALUES (?, ?, ?) ON CONFLICT (account, name) DO NOTHING RETURNING id",
			r.Account, r.Name, text)
		if errors.Is(err, sql.ErrNoRows) {
			return principals.ErrExists
		}
		if err != nil {
			return err
		}
		return s.w.writeKeys(id, nil, keys)
	})
}

// ChangePrincipal implements principals.Store. What changes nothing writes
// nothing.
func (s *Store) ChangePrincipal(ctx context.Context, account, name string, change func(*principals.Record) error) (*principals.Record, error) {
	var out *principals.Record
	err := s.w.transact(ctx, func() error {
		var id int64
		var text string
		err := s.w.one(&id, "SELECT id FROM principals WHERE account = ? AND name = ?", account, name)
		if err == nil {
			err = s.w.one(&text, "SELECT record FROM principals WHERE id = ?", id)
		}
		if errors.Is(err, sql.ErrNoRows) {
			return principals.ErrNotFound
		}
		if err != nil {
			return err
		}
		r, err := decodePrincipal(text)
		if err != nil {
			return err
		}
		old := keyIDs(r)
		err = change(r)
		if errors.Is(err, principals.ErrRemove) {
			out = r
			_, err := s.w.exec("DELETE FROM principals WHERE id = ?", id)
			return err
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
			if _, err := s.w.exec("UPDATE principals SET record = ? WHERE id = ?", next, id); err != nil {
				return err
			}
			if err := s.w.writeKeys(id, old, keyIDs(r)); err != nil {
				return err
			}
		}
		out, err = decodePrincipal(next)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// writeKeys makes the access keys of a principal, which were old, those of next.
// A key that stays keeps when it was last used.
func (w *writerConn) writeKeys(principal int64, old, next []string) error {
	for _, id := range old {
		if !slices.Contains(next, id) {
			if _, err := w.exec("DELETE FROM access_keys WHERE id = ?", id); err != nil {
				return err
			}
		}
	}
	for i, id := range next {
		if slices.Contains(next[:i], id) {
			return principals.ErrExists
		}
		if slices.Contains(old, id) {
			continue
		}
		n, err := w.exec("INSERT INTO access_keys (id, principal_id) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", id, principal)
		if err != nil {
			return err
		}
		if n == 0 {
			return principals.ErrExists
		}
	}
	return nil
}

// NoteUse implements principals.Store. Of two uses the later one counts,
// whichever comes first.
func (s *Store) NoteUse(ctx context.Context, keyID string, at time.Time) error {
	us := at.UnixMicro()
	return s.w.transact(ctx, func() error {
		_, err := s.w.exec("UPDATE access_keys SET last_used = ? WHERE id = ? AND ifnull(last_used < ?, true)", us, keyID, us)
		return err
	})
}

// LastUses implements principals.Store.
func (s *Store) LastUses(ctx context.Context, keyIDs []string) (map[string]time.Time, error) {
	ids, err := json.Marshal(keyIDs)
	if err != nil {
		return nil, err
	}
	rows, err := s.query(ctx, usesQuery, string(ids))
	if err != nil {
		return nil, classify(s.path, err)
	}
	defer rows.Close()
	out := map[string]time.Time{}
	for rows.Next() {
		var id string
		var us int64
		if err := rows.Scan(&id, &us); err != nil {
			return nil, classify(s.path, err)
		}
		out[id] = time.UnixMicro(us).UTC()
	}
	return out, classify(s.path, rows.Err())
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
	var w writer
	w.check(r.Account, r.Name, string(r.Kind), r.ID, r.Boundary, r.Trust)
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
		w.check(out.Keys[i].ID)
		out.Keys[i].Created = out.Keys[i].Created.UTC()
	}
	w.json(out)
	if w.err != nil {
		return "", secrets.Errorf(secrets.Invalid, "principal %q: %w", r.Name, w.err)
	}
	return w.cols[0].(string), nil
}

func decodePrincipal(text string) (*principals.Record, error) {
	var r principals.Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "a principal in the database: %w", err).WithHint(remedyDamaged)
	}
	return &r, nil
}
