package postgres

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// patience is how long what failed is tried again, where that may help and the
// context allows: a fail-over takes a few seconds.
const patience = 5 * time.Second

// retry runs a read, again where its error is Transient and time allows: the
// connection broke, the server restarts, another one takes over.
func (s *Store) retry(ctx context.Context, read func(ctx context.Context) error) error {
	return s.again(ctx, func() (worth bool, err error) {
		err = s.classify(read(ctx))
		return secrets.KindOf(err) == secrets.Transient, err
	})
}

// again tries until it succeeds, is not worth it, or the time is over; then the
// error is that of a try, not that of ctx.
func (s *Store) again(ctx context.Context, try func() (worth bool, err error)) error {
	end := time.Now().Add(patience)
	wait := fullJitter(20*time.Millisecond, 500*time.Millisecond)
	var last error
	for {
		worth, err := try()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil && last != nil:
			return last // says more than that there was no time left
		case ctx.Err() != nil, !worth, s.alive.Err() != nil, !time.Now().Before(end):
			return err
		}
		last = err
		t := time.NewTimer(wait.NextBackOff())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return last
		case <-s.alive.Done():
			t.Stop()
			return last
		}
	}
}
