// Package schema reads the numbered SQL files by which a store's schema goes forward.
package schema

import (
	"fmt"
	"io/fs"
	"path"
)

// Scripts returns the files migrations/NNNN_what.sql in order; the n-th, counted from
// one, leads to version n of the schema. A number that is left out is an error.
func Scripts(migrations fs.FS) ([]string, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	scripts := make([]string, len(names))
	for i, name := range names {
		if path.Base(name)[:5] != fmt.Sprintf("%04d_", i+1) {
			return nil, fmt.Errorf("the migrations have a gap at %s", name)
		}
		b, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		scripts[i] = string(b)
	}
	return scripts, nil
}
