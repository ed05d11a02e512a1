//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// storm does to a world what a plan says.
type storm struct {
	w     *world
	began time.Time

	mu    sync.Mutex
	done  map[trouble]int
	blows []blow
	bad   []string // what went wrong with the tests themselves
}

// rage does the plan, and returns when it is over and everything is mended.
func (s *storm) rage(ctx context.Context, plan []fault) {
	s.began, s.done = time.Now(), map[trouble]int{}
	var group sync.WaitGroup
	defer group.Wait()
	for _, f := range plan {
		if !s.sleep(ctx, f.at) {
			return
		}
		group.Go(func() { s.do(ctx, f) })
	}
}

// sleep waits for a time of the plan.
func (s *storm) sleep(ctx context.Context, at time.Duration) bool {
	select {
	case <-time.After(time.Until(s.began.Add(at))):
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *storm) do(ctx context.Context, f fault) {
	s.mu.Lock()
	s.done[f.trouble]++
	s.mu.Unlock()
	switch f.trouble {
	case storeDies:
		s.restartStore(ctx)
		return
	case slow:
		r := s.w.replicas[f.replica]
		r.store.Slow(f.delay)
		r.target.Slow(f.delay)
		s.sleep(ctx, f.end)
		r.store.Slow(0)
		r.target.Slow(0)
		return
	}
	r := s.w.replicas[f.replica]
	strike := sync.OnceFunc(func() { s.strike(r, f) })
	if f.aimed {
		struck := make(chan struct{})
		r.target.Watch(func(fromClient bool, b []byte) bool {
			if fromClient && sets(b) {
				strike()
				select {
				case struck <- struct{}{}:
				default:
				}
			}
			return true
		})
		select {
		case <-struck:
		case <-time.After(time.Until(s.began.Add(f.at + lead))):
		case <-ctx.Done():
		}
		r.target.Watch(nil)
	}
	strike()
	s.sleep(ctx, f.end)
	switch f.trouble {
	case killed:
		r.reap()
		if err := r.start(f.skew); err != nil {
			s.failed("%v", err)
		}
	case paused:
		r.wake()
	default:
		r.store.Heal()
		r.target.Heal()
	}
}

// strike begins what disables a replica, at once.
func (s *storm) strike(r *replica, f fault) {
	switch f.trouble {
	case killed:
		r.strike()
	case paused:
		r.pause()
	default:
		if f.trouble != cutTarget {
			r.store.Cut()
		}
		if f.trouble != cutStore {
			r.target.Cut()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blows = append(s.blows, blow{f.replica, time.Now(), f.trouble})
}

// restartStore kills the store's server, and starts it as soon as what is left of it
// lets it.
func (s *storm) restartStore(ctx context.Context) {
	err := s.w.store.Kill()
	for deadline := time.Now().Add(10 * time.Second); err == nil; time.Sleep(100 * time.Millisecond) {
		if again := s.w.store.Restart(context.WithoutCancel(ctx)); again == nil {
			return
		} else if time.Now().After(deadline) {
			err = again
		}
	}
	s.failed("the store's server: %v", err)
}

func (s *storm) failed(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = append(s.bad, fmt.Sprintf(format, args...))
}
