package service_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// act is something that somebody does to a secret that has, or had, replicas.
type act struct {
	name string
	do   func(h *house, s *service.Service, name string) error
}

var (
	actPut = act{"put", func(_ *house, s *service.Service, name string) error { return put(s, name, "put") }}

	actReplicate = act{"replicate", func(_ *house, s *service.Service, name string) error {
		return replicate(s, name, true, three[1:]...)
	}}
	actRemove = act{"remove", func(_ *house, s *service.Service, name string) error { return remove(s, name, three[1:]...) }}
	actStop   = act{"stop", func(_ *house, s *service.Service, name string) error { return stop(in(s, three[1]), name) }}
	actAgain  = act{"remove and replicate again", func(h *house, s *service.Service, name string) error {
		if err := actRemove.do(h, s, name); err != nil {
			return err
		}
		return actReplicate.do(h, s, name)
	}}
	actFollow = act{"housekeeping", func(h *house, s *service.Service, name string) error {
		return service.CatchUp(s, h.t.Context(), h.find(h.t, service.DefaultAccount, three[0], name).ARN)
	}}
	actAnew = act{"housekeeping, and replicate again", func(h *house, s *service.Service, name string) error {
		if err := actFollow.do(h, s, name); err != nil {
			return err
		}
		return actReplicate.do(h, s, name)
	}}
	actEnd = act{"remove and delete", func(h *house, s *service.Service, name string) error {
		if err := actRemove.do(h, s, name); err != nil {
			return err
		}
		return second(s.DeleteSecret(h.t.Context(), service.DeleteSecretInput{SecretID: name, ForceDeleteWithoutRecovery: true}))
	}}
	actDyingPut = act{"put, and die", func(h *house, _ *service.Service, name string) error {
		s, _ := h.process(func(int) fault { return after })
		_ = put(s, name, "dying")
		return nil
	}}
)

// One does something while another stands still between any two calls of the
// store: and then goes on, or dies of his next write.
func TestOneActsWhileAnotherStandsStill(t *testing.T) {
	t.Parallel()
	h := open(t, service.Config{})
	var cases []standstill
	for _, quick := range []act{actPut, actReplicate, actRemove, actStop, actAgain, actAnew, actEnd, actDyingPut} {
		for _, dies := range []bool{false, true} {
			cases = append(cases, standstill{slow: actReplicate, quick: quick, dies: dies})
			for _, slow := range []act{actPut, actReplicate, actRemove, actStop, actFollow} {
				cases = append(cases, standstill{true, slow, quick, dies})
			}
		}
	}
	// At once, because writers at once share the disk's syncs.
	var wg sync.WaitGroup
	ran, running := make([]int, len(cases)), make(chan struct{}, 16)
	for i, c := range cases {
		if !chosen(i, 4) {
			continue
		}
		running <- struct{}{}
		wg.Go(func() {
			defer func() { <-running }()
			for c.run(t, h, fmt.Sprintf("s%d-%d", i, ran[i]), ran[i]) {
				ran[i]++
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	h.calm(t)
	for i, c := range cases {
		for at := range ran[i] {
			h.consistent(t, service.DefaultAccount, fmt.Sprintf("s%d-%d", i, at))
			if t.Failed() {
				t.Fatalf("%s, before call %d", c, at)
			}
		}
	}
}

type standstill struct {
	replicated  bool // from the start
	slow, quick act
	dies        bool
}

func (c standstill) String() string {
	return fmt.Sprintf("replicated: %v; %s stands still for %s, and dies: %v", c.replicated, c.slow.name, c.quick.name, c.dies)
}

// run has the slow one stand still before his at-th call, and reports whether he
// came to that.
func (c standstill) run(t *testing.T, h *house, name string, at int) (reached bool) {
	errs := func(who act, err error) {
		if err != nil && secrets.CodeOf(err) == "" && secrets.KindOf(err) != secrets.Conflict {
			t.Errorf("%s, before call %d: %s: %v", c, at, who.name, err)
		}
	}
	errs(act{}, make1(h.Service, name, "v1"))
	if c.replicated {
		errs(act{}, replicate(h.Service, name, false, three[1:]...))
	}
	if c.slow.name == actFollow.name {
		errs(act{}, actDyingPut.do(h, nil, name))
	}
	s, m := h.process(nil)
	m.meant = func(n int) {
		if n != at {
			return
		}
		reached = true
		errs(c.quick, c.quick.do(h, h.Service, name))
		if c.dies {
			m.fate = func(int) fault { return after }
		}
	}
	if err := c.slow.do(h, s, name); !m.dead {
		errs(c.slow, err)
		h.noOrphans(t, name)
	}
	return reached
}

// noOrphans checks what is true even before the housekeeping came.
func (h *house) noOrphans(t *testing.T, name string) {
	t.Helper()
	primary := h.find(t, service.DefaultAccount, three[0], name)
	for _, region := range three[1:] {
		sec := h.find(t, service.DefaultAccount, region, name)
		if sec == nil || sec.PrimaryRegion == "" {
			continue
		}
		listed := false
		if primary != nil {
			for _, r := range primary.Replicas {
				listed = listed || r.Region == region
			}
		}
		if !listed {
			t.Errorf("%s is an orphan", sec.ARN)
		}
	}
}
