package postgres

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pawlhq/pawl/integration/servers"
)

func TestCloseLeavesNothingBehind(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	createSecret(t, l.open(t, db), 0)
	before := goleak.IgnoreCurrent()
	s, err := Open(t.Context(), l.config(db))
	if err != nil {
		t.Fatal(err)
	}
	claim := mustLock(t, s, arn(0))
	ctx := claim.Context(t.Context())
	read(t, s)
	write(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Error("a claim outlives its store")
	}
	claim.Release()
	goleak.VerifyNone(t, before)
	if n := value[int](t, l, db, "SELECT count(*)::int FROM pawl.leases"); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}
