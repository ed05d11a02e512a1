package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// resealQuery goes by the versions' own order, which needs no index but theirs.
// CROSS JOIN is SQLite's way to say which table is the outer one.
const resealQuery = `SELECT v.secret_id, v.id, s.partition, s.region, s.account, s.name, s.suffix, x.id, x.value
	FROM versions v CROSS JOIN secrets s ON s.id = v.secret_id CROSS JOIN sealed_values x ON x.id = v.value_id
	WHERE (v.secret_id, v.id) > (?, ?) ORDER BY v.secret_id, v.id LIMIT ?`

// sealedVersion is a row of resealQuery.
type sealedVersion struct {
	place   string
	arn     secrets.ARN
	version string
	valueID any
	value   []byte
}

// Reseal implements seal.Store.
func (s *Store) Reseal(ctx context.Context, after string, n int,
	change func(arn secrets.ARN, versionID string, sealed []byte) ([]byte, error),
) (next string, err error) {
	secretID, versionID, err := parsePlace(after)
	if err != nil {
		return "", err
	}
	n = max(n, 1)
	err = s.w.transact(ctx, func() error {
		found, err := s.w.sealedAfter(secretID, versionID, n)
		if err != nil {
			return err
		}
		for _, v := range found {
			sealed, err := change(v.arn, v.version, v.value)
			if err != nil {
				return err
			}
			if sealed == nil || bytes.Equal(sealed, v.value) {
				continue
			}
			if len(sealed) == 0 {
				return secrets.Errorf(secrets.Invalid, "secret %q: an empty value for version %s", v.arn.Name, v.version)
			}
			if err := s.w.touch(v.arn); err != nil {
				return err
			}
			if err := s.w.writeValue(&v.valueID, sealed); err != nil {
				return err
			}
		}
		if len(found) == n {
			next = found[n-1].place
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return next, nil
}

// sealedAfter returns up to n versions that have a value, after a place.
func (w *writerConn) sealedAfter(secretID int64, versionID string, n int) ([]sealedVersion, error) {
	var out []sealedVersion
	err := each(func() (*sql.Rows, error) {
		stmt, err := w.prepare(resealQuery)
		if err != nil {
			return nil, err
		}
		return stmt.Query(secretID, versionID, n)
	}, 9, func(v []any) {
		out = append(out, sealedVersion{
			place: fmt.Sprintf("%d/%s", v[0], v[1]),
			arn: secrets.ARN{
				Partition: v[2].(string), Region: v[3].(string), Account: v[4].(string), Name: v[5].(string), Suffix: v[6].(string),
			},
			version: v[1].(string), valueID: v[7], value: v[8].([]byte),
		})
	})
	return out, classify(w.path, err)
}

// parsePlace reads what Reseal calls a place.
func parsePlace(place string) (secretID int64, versionID string, err error) {
	if place == "" {
		return 0, "", nil
	}
	number, versionID, ok := strings.Cut(place, "/")
	secretID, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return 0, "", secrets.Errorf(secrets.Invalid, "%q is no place among the sealed values", place).WithHint("begin again, from the start")
	}
	return secretID, versionID, nil
}
