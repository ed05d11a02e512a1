package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/storetest"
)

var _ service.Store = (*Store)(nil)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t testing.TB) service.Store {
		s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
		t.Cleanup(func() { checkIntegrity(t, s) })
		return s
	})
}
