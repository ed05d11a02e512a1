package postgres

import (
	"context"
	"time"
)

// flight is one query that answers all who ask for the same while it is under way.
type flight[V any] struct {
	begun time.Time // before it was sent
	done  chan struct{}
	value V // from here on to be read when done is closed
	err   error
}

func newFlight[V any](begun time.Time) *flight[V] {
	return &flight[V]{begun: begun, done: make(chan struct{})}
}

// land gives the answer to all who wait.
func (f *flight[V]) land(v V, err error) {
	f.value, f.err = v, err
	close(f.done)
}

// wait returns the answer, or the error of ctx when that ends before.
func (f *flight[V]) wait(ctx context.Context) (V, error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}
