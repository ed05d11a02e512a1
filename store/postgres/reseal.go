package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
)

// resealQuery goes by the values' own order. It locks the secrets first, as all do
// who write values, and each value too, so that it gets the one that is there when
// the secret is locked.
const resealQuery = `SELECT v.secret_id, v.version_id, v.value, ` + arnColumns + `
	FROM pawl.sealed_values v JOIN pawl.secrets s ON s.id = v.secret_id
	WHERE (v.secret_id, v.version_id) > ($1, $2) ORDER BY v.secret_id, v.version_id LIMIT $3
	FOR NO KEY UPDATE OF s FOR NO KEY UPDATE OF v`

// sealedVersion is a row of resealQuery.
type sealedVersion struct {
	secretID int64
	version  string
	value    []byte
	arn      secrets.ARN
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
	var found []sealedVersion
	t := transaction{}
	t.read = func(b *pgx.Batch) {
		b.Queue(resealQuery, secretID, versionID, n).Query(func(rows pgx.Rows) error {
			found = nil
			for rows.Next() {
				var v sealedVersion
				a := &v.arn
				if err := rows.Scan(&v.secretID, &v.version, &v.value, &a.Partition, &a.Region, &a.Account, &a.Name, &a.Suffix); err != nil {
					return err
				}
				found = append(found, v)
			}
			return rows.Err()
		})
	}
	t.write = func(b *pgx.Batch) error {
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
			b.Queue("UPDATE pawl.sealed_values SET value = $3 WHERE secret_id = $1 AND version_id = $2", v.secretID, v.version, sealed)
			b.Queue("UPDATE pawl.secrets SET writes = writes + 1, mark = $2 WHERE id = $1", v.secretID, newMark())
			t.touches = append(t.touches, placeOf(v.arn))
		}
		if len(found) == n {
			last := found[n-1]
			next = fmt.Sprintf("%d/%s", last.secretID, last.version)
		}
		return nil
	}
	if err := s.transact(ctx, &t); err != nil {
		return "", err
	}
	return next, nil
}

// parsePlace reads what Reseal calls a place.
func parsePlace(place string) (secretID int64, versionID string, err error) {
	if place == "" {
		return 0, "", nil
	}
	number, versionID, ok := strings.Cut(place, "/")
	secretID, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || !columnText(versionID) {
		return 0, "", secrets.Errorf(secrets.Invalid, "%q is no place among the sealed values", place).WithHint("begin again, from the start")
	}
	return secretID, versionID, nil
}
