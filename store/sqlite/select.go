package sqlite

import (
	"cmp"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// selecting makes a statement that reads the secrets that from names, without
// their versions: "FROM secrets WHERE …", with the order and limit that the
// result shall have.
func selecting(from string) string {
	return "SELECT id, " + strings.Join(secretColumns, ", ") + " " + from
}

// versionsQuery reads the versions of the secrets whose ids are given as a JSON
// array. With a join, every version's row would carry its secret's columns.
var versionsQuery = "SELECT secret_id, id, " + strings.Join(versionColumns, ", ") +
	" FROM versions WHERE secret_id IN (SELECT value FROM json_each(?))"

// readMany runs a statement of selecting, and versionsQuery after it, in one
// transaction of query.
func readMany(query func(statement string, args ...any) (*sql.Rows, error), statement string, args ...any) ([]stored, error) {
	var out []stored
	at := map[int64]int{}
	ids := []byte{'['}
	err := each(func() (*sql.Rows, error) { return query(statement, args...) }, 1+len(secretColumns), func(v []any) {
		id := v[0].(int64)
		at[id] = len(out)
		out = append(out, stored{id: id, cols: append([]any(nil), v[1:]...)})
		ids = append(strconv.AppendInt(ids, id, 10), ',')
	})
	if err != nil || len(out) == 0 {
		return nil, err
	}
	ids[len(ids)-1] = ']'
	err = each(func() (*sql.Rows, error) { return query(versionsQuery, string(ids)) }, 2+len(versionColumns), func(v []any) {
		r := &out[at[v[0].(int64)]]
		r.versions = append(r.versions, versionOf(v[1:]))
	})
	for i := range out {
		out[i].sort()
	}
	return out, err
}

// findQuery and readQuery read the secret in a place with its versions, in one
// statement, which is quicker than two and needs no transaction. findQuery reads
// the value that will be asked for next, too, unless it is large.
var (
	findQuery = single(`CASE WHEN labels LIKE '%"` + secrets.Current + `"%' THEN
		(SELECT value FROM sealed_values WHERE sealed_values.id = value_id AND length(value) <= 8192) END`)
	readQuery = single("NULL")
)

// single makes such a statement; its rows begin with 0 for the secret, and with
// 1 for a version, which has sealed as its value.
func single(sealed string) string {
	const where = "FROM secrets WHERE account = ?1 AND region = ?2 AND name = ?3"
	version := append([]string{"1", "secret_id", "id"}, versionColumns...)
	version = append(version, sealed)
	for len(version) < 2+len(secretColumns) {
		version = append(version, "NULL")
	}
	return "SELECT 0, id, " + strings.Join(secretColumns, ", ") + " " + where +
		" UNION ALL SELECT " + strings.Join(version, ", ") + " FROM versions WHERE secret_id = (SELECT id " + where + ")"
}

// readOne runs a statement of single; nil means that there is no secret.
func readOne(query func() (*sql.Rows, error)) (*stored, error) {
	var out stored
	err := each(query, 2+len(secretColumns), func(v []any) {
		if v[0].(int64) == 0 {
			out.id, out.cols = v[1].(int64), append([]any(nil), v[2:]...)
			return
		}
		version := versionOf(v[2:])
		version.sealed, _ = v[3+len(versionColumns)].([]byte)
		out.versions = append(out.versions, version)
	})
	if err != nil || out.cols == nil {
		return nil, err
	}
	out.sort()
	return &out, nil
}

// versionOf makes a version of a row's id and versionColumns.
func versionOf(v []any) storedVersion {
	cols := append([]any(nil), v[1:1+len(versionColumns)]...)
	return storedVersion{id: v[0].(string), cols: cols, filled: cols[valueColumn] != nil}
}

// sort puts the versions in order.
func (r *stored) sort() {
	slices.SortFunc(r.versions, func(a, b storedVersion) int { return cmp.Compare(a.cols[seqColumn].(int64), b.cols[seqColumn].(int64)) })
}

// each calls visit with the values of every row, which are overwritten by the
// next.
func each(query func() (*sql.Rows, error), columns int, visit func([]any)) error {
	rows, err := query()
	if err != nil {
		return err
	}
	defer rows.Close()
	vals := make([]any, columns)
	dest := make([]any, columns)
	for i := range vals {
		dest[i] = &vals[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		visit(vals)
	}
	return rows.Err()
}
