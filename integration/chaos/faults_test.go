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
	if f.trouble == storeDies {
		if err := s.w.store.Kill(); err != nil {
			s.failed("killing the store: %v", err)
		}
		if err := s.w.store.Restart(context.WithoutCancel(ctx)); err != nil {
			s.failed("starting the store: %v", err)
		}
		return
	}
	r := s.w.replicas[f.replica]
	if f.delay > 0 {
		r.store.Slow(f.delay)
		defer r.store.Slow(0)
		r.target.Slow(f.delay)
		defer r.target.Slow(0)
		if f.trouble != slow {
			s.sleep(ctx, f.at+lead)
		}
	}
	if f.disables() {
		s.mu.Lock()
		s.blows = append(s.blows, blow{f.replica, time.Now(), f.trouble})
		s.mu.Unlock()
	}
	switch f.trouble {
	case killed:
		r.kill()
		s.sleep(ctx, f.end)
		if err := r.start(f.skew); err != nil {
			s.failed("%v", err)
		}
		return
	case paused:
		r.pause()
		defer r.wake()
	case cutStore:
		r.store.Cut()
		defer r.store.Heal()
	case cutTarget:
		r.target.Cut()
		defer r.target.Heal()
	case cutBoth:
		r.store.Cut()
		defer r.store.Heal()
		r.target.Cut()
		defer r.target.Heal()
	}
	s.sleep(ctx, f.end)
}

func (s *storm) failed(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = append(s.bad, fmt.Sprintf(format, args...))
}
