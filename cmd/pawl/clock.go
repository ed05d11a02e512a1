package main

import (
	"context"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/store/postgres"
)

// clockOf is the clock by which everybody goes who shares a store: the database's, or
// that of this machine.
func clockOf(ctx context.Context, store ownStore) (clockwork.Clock, error) {
	if shared, ok := store.(*postgres.Store); ok {
		return shared.Clock(ctx, wallClock())
	}
	return wallClock(), nil
}
