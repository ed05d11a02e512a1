package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Create implements service.Store.
func (s *Store) Create(ctx context.Context, sec *service.Secret, values service.Sealed) error {
	next, err := encode(0, sec, values, &stored{})
	if err != nil {
		return err
	}
	return s.w.transact(ctx, func() error {
		if err := s.w.touch(sec.ARN); err != nil {
			return err
		}
		err := s.w.one(&next.id, "INSERT INTO secrets ("+strings.Join(secretColumns, ", ")+") VALUES (?"+
			strings.Repeat(", ?", len(secretColumns)-1)+") ON CONFLICT (account, region, name) DO NOTHING RETURNING id", next.cols...)
		if errors.Is(err, sql.ErrNoRows) {
			return service.ErrExists
		}
		if err != nil {
			return err
		}
		return s.w.writeVersions(&stored{}, &next, values)
	})
}

// Update implements service.Store.
func (s *Store) Update(ctx context.Context, arn secrets.ARN, change func(*service.Secret) (service.Sealed, error)) (*service.Secret, error) {
	var out *service.Secret
	err := s.w.transact(ctx, func() error {
		old, err := s.w.read(arn)
		if err != nil {
			return err
		}
		sec, err := old.decode()
		if err != nil {
			return err
		}
		values, err := change(sec)
		if errors.Is(err, service.ErrRemove) {
			out = sec
			if err := s.w.touch(arn); err != nil {
				return err
			}
			_, err = s.w.exec("DELETE FROM secrets WHERE id = ?", old.id)
			return err
		}
		if err != nil {
			return err
		}
		if sec.ARN != arn {
			return secrets.Errorf(secrets.Invalid, "the ARN of secret %q cannot change", arn.Name)
		}
		next, err := encode(old.id, sec, values, old)
		if err != nil {
			return err
		}
		if err := s.w.touch(arn); err != nil {
			return err
		}
		if err := s.w.update("secrets", secretColumns, old.cols, next.cols, "id = ?", old.id); err != nil {
			return err
		}
		if err := s.w.writeVersions(old, &next, values); err != nil {
			return err
		}
		out, err = next.decode()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// writeVersions makes the versions of old, a stored secret, those of next.
func (w *writerConn) writeVersions(old, next *stored, values service.Sealed) error {
	for _, v := range old.versions {
		if next.version(v.id) == nil {
			if _, err := w.exec("DELETE FROM versions WHERE secret_id = ? AND id = ?", next.id, v.id); err != nil {
				return err
			}
		}
	}
	for _, v := range next.versions {
		was := old.version(v.id)
		if sealed, ok := values[v.id]; ok {
			if err := w.writeValue(&v.cols[valueColumn], sealed); err != nil {
				return err
			}
		}
		var err error
		if was != nil {
			err = w.update("versions", versionColumns, was.cols, v.cols, "secret_id = ? AND id = ?", next.id, v.id)
		} else {
			args := append([]any{next.id, v.id}, v.cols...)
			_, err = w.exec("INSERT INTO versions (secret_id, id, "+strings.Join(versionColumns, ", ")+") VALUES (?"+
				strings.Repeat(", ?", len(args)-1)+")", args...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeValue writes an encrypted value over the one with this id, or, if that
// is nil, to a new one.
func (w *writerConn) writeValue(id *any, sealed []byte) error {
	if *id != nil {
		_, err := w.exec("UPDATE sealed_values SET value = ? WHERE id = ?", sealed, *id)
		return err
	}
	var made int64
	err := w.one(&made, "INSERT INTO sealed_values (value) VALUES (?) RETURNING id", sealed)
	*id = made
	return err
}

// update sets the columns in which next differs from old, and does nothing if
// there is none: a column that is set costs its index pages, even with the value
// it had.
func (w *writerConn) update(table string, columns []string, old, next []any, where string, key ...any) error {
	var set []string
	var args []any
	for i, c := range columns {
		if old[i] != next[i] {
			set, args = append(set, c+" = ?"), append(args, next[i])
		}
	}
	if len(set) == 0 {
		return nil
	}
	_, err := w.exec("UPDATE "+table+" SET "+strings.Join(set, ", ")+" WHERE "+where, append(args, key...)...)
	return err
}

// Remove implements service.Store.
func (s *Store) Remove(ctx context.Context, a secrets.ARN) error {
	return s.w.transact(ctx, func() error {
		if err := s.w.touch(a); err != nil {
			return err
		}
		n, err := s.w.exec("DELETE FROM secrets WHERE account = ? AND region = ? AND name = ? AND suffix = ? AND partition = ?",
			a.Account, a.Region, a.Name, a.Suffix, a.Partition)
		if err == nil && n == 0 {
			return service.ErrNotFound
		}
		return err
	})
}

const rememberedQuery = "SELECT value FROM meta WHERE name = ?"

// Remember keeps value under name unless something is kept there already, and
// returns what is kept there now. It writes only what is new.
func (s *Store) Remember(ctx context.Context, name string, value []byte) ([]byte, error) {
	var kept []byte
	err := s.readers.QueryRowContext(ctx, rememberedQuery, name).Scan(&kept)
	if !errors.Is(err, sql.ErrNoRows) {
		return kept, classify(s.path, err)
	}
	err = s.w.transact(ctx, func() error {
		_, err := s.w.exec("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, value)
		if err != nil {
			return err
		}
		return s.w.one(&kept, rememberedQuery, name)
	})
	return kept, err
}

// Keep implements seal.Store.
func (s *Store) Keep(ctx context.Context, name string, value []byte) error {
	return s.w.transact(ctx, func() error {
		_, err := s.w.exec("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2 WHERE value <> ?2", name, value)
		return err
	})
}
