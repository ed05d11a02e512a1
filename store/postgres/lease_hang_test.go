package postgres

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

// All connections stand still, those too that are not in use, and new ones can be
// had: reads and claims change over to them in time.
func TestConnectionsThatHang(t *testing.T) {
	t.Parallel()
	l := at(t, servers.Postgres15)
	db := l.database(t)
	g := newGate(t, l.Server)
	far := strict(openStore(t, g.config(l, l.config(db))))
	a := createSecret(t, far, 0)
	claim := mustLock(t, far, a)
	if err := claim.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As many as there are when much is going on.
	for _, pool := range []*pgxpool.Pool{far.own, far.pool} {
		var busy []*pgxpool.Conn
		for range 2 {
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			busy = append(busy, conn)
		}
		for _, conn := range busy {
			conn.Release()
		}
	}
	ctx := claim.Context(t.Context())
	end, _ := secrets.EndOf(ctx)
	time.Sleep(1100 * time.Millisecond) // what was used a moment ago counts as good
	g.hang()
	var readers sync.WaitGroup
	for range 30 {
		readers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := far.Places(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	for {
		if now, _ := secrets.EndOf(ctx); now.After(end) && ctx.Err() == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
		time.Sleep(10 * time.Millisecond)
	}
	claim.Release()
	mustLock(t, far, a).Release()
}
