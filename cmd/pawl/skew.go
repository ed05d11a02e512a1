package main

import (
	"context"
	"log/slog"
	"time"
)

// Who rotates what, a shared store decides by its own clock. When something is due,
// and whether a signature is fresh, each Pawl decides by its machine's.
const (
	mostSkew  = 5 * time.Second // from the store's clock, before Pawl warns
	skewEvery = time.Hour
)

// clocked is a store with a clock of its own.
type clocked interface {
	Now(ctx context.Context) (time.Time, error)
}

// skewOf returns by how much this machine's clock is ahead of the store's at least;
// negative = behind.
func skewOf(ctx context.Context, store clocked) (time.Duration, error) {
	before := wallClock().Now()
	there, err := store.Now(ctx)
	after := wallClock().Now()
	switch {
	case err != nil:
		return 0, err
	case there.Before(before):
		return before.Sub(there), nil
	case there.After(after):
		return after.Sub(there), nil
	}
	return 0, nil // as far as can be told
}

// aheadBy says a skew to people.
func aheadBy(skew time.Duration) string {
	if skew < 0 {
		return (-skew).Round(100*time.Millisecond).String() + " behind the database's"
	}
	return skew.Round(100*time.Millisecond).String() + " ahead of the database's"
}

// watchClock warns, now and each hour, of a clock that is wrong, or whose store's is.
// stop returns when it has ended.
func watchClock(ctx context.Context, store any, log *slog.Logger) (stop func()) {
	shared, ok := store.(clocked)
	if !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(skewEvery)
		defer tick.Stop()
		for {
			// Of a store that does not answer enough others tell.
			if skew, err := skewOf(ctx, shared); err == nil && skew.Abs() > mostSkew {
				log.Warn("this machine's clock is "+aheadBy(skew)+"; schedules and signatures go by this machine's: see timedatectl on both", "skew", skew.Round(time.Millisecond))
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
