package postgres

import (
	"context"
	"sync"
	"time"
)

// revision is the settings' number as it was read last, used no longer than a
// secret's record is.
type revision struct {
	fresh time.Duration
	now   func() time.Time

	mu     sync.Mutex
	known  bool
	at     time.Time // before it was asked for
	number int64
	flight *flight[int64] // under way, and to be kept
}

// recent returns the number if it is known and fresh, or else a query to wait for.
func (r *revision) recent(read func() (int64, error)) (int64, *flight[int64]) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known && since(r.at, now) < r.fresh {
		return r.number, nil
	}
	if f := r.flight; f != nil && since(f.begun, now) < r.fresh {
		return 0, f
	}
	f := newFlight[int64](now)
	r.flight = f
	go func() {
		n, err := read()
		r.mu.Lock()
		if r.flight == f {
			r.flight = nil
			if err == nil {
				r.known, r.at, r.number = true, f.begun, n
			}
		}
		r.mu.Unlock()
		f.land(n, err)
	}()
	return 0, f
}

// forget has the next who asks, and everybody after him, get what is read from now
// on.
func (r *revision) forget() {
	r.mu.Lock()
	r.known, r.flight = false, nil
	r.mu.Unlock()
}

// SettingsRevision implements principals.Store and seal.Store. What this process
// changed shows at once; what another one did within MaxStale.
func (s *Store) SettingsRevision(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, s.classify(err)
	}
	n, f := s.revision.recent(func() (int64, error) {
		var n int64
		err := s.shared(func(ctx context.Context) (err error) { n, err = s.readSettingsRevision(ctx); return err })
		return n, err
	})
	if f == nil {
		return n, nil
	}
	n, err := f.wait(ctx)
	return n, s.classify(err)
}
