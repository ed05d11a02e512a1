package scheduler

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

const (
	// testers is how many tests run at a time, so that a server that does not
	// answer keeps only some of them waiting.
	testers = 4
	// maxTests bounds how many wait.
	maxTests = 1024
)

// Check runs the checks of a rotation: what a rotation would do, as the
// rotator's outcome says it, or why it would fail. Nothing is changed. Errors: as
// Runner.Once.
func (s *Scheduler) Check(ctx context.Context, arn secrets.ARN) (outcome string, err error) {
	res, err := s.c.Runner.Once(ctx, arn.String(), rotator.Options{DryRun: true})
	return string(res.Outcome), err
}

// Test is Check in the background, for a Scheduler that runs, but that a custom
// rotation function is tried by its testSecret: the log has TestRotationStarted
// and then TestRotationSucceeded or TestRotationFailed. It does not block.
func (s *Scheduler) Test(arn secrets.ARN) { s.tests.add(arn) }

// tester runs tests on a few goroutines, which live while there is work.
type tester struct {
	s *Scheduler

	mu      sync.Mutex
	ctx     context.Context // of the present opening; nil = closed
	queue   []secrets.ARN   // oldest first, each once
	running []secrets.ARN
	idle    chan struct{} // closed when nothing runs; nil while nobody waits
}

func newTester(s *Scheduler) *tester { return &tester{s: s} }

func (t *tester) log(arn secrets.ARN) *slog.Logger { return t.s.pool.log.With("secret", arn.Name) }

func (t *tester) open(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ctx = ctx
}

// close drops what waits and returns a channel that is closed when the last test
// has ended.
func (t *tester) close() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ctx, t.queue = nil, nil
	done := make(chan struct{})
	if len(t.running) == 0 {
		close(done)
	} else {
		t.idle = done
	}
	return done
}

func (t *tester) add(arn secrets.ARN) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ctx == nil:
		t.log(arn).Warn("TestRotationFailed", "error", "the daemon is stopping")
	case slices.Contains(t.queue, arn): // that one will see what is true by then
	case len(t.queue) >= maxTests:
		t.log(arn).Warn("TestRotationFailed", "error", "too many tests wait already")
	default:
		t.queue = append(t.queue, arn)
		if ctx, next := t.take(); ctx != nil {
			go t.work(ctx, next)
		}
	}
}

// take takes the oldest test that may begin off the queue: one of a secret
// that no other test has. ctx is nil for none.
func (t *tester) take() (ctx context.Context, arn secrets.ARN) {
	if t.ctx == nil || len(t.running) >= testers {
		return nil, arn
	}
	i := slices.IndexFunc(t.queue, func(arn secrets.ARN) bool { return !slices.Contains(t.running, arn) })
	if i < 0 {
		return nil, arn
	}
	arn = t.queue[i]
	t.queue = slices.Delete(t.queue, i, i+1)
	t.running = append(t.running, arn)
	return t.ctx, arn
}

func (t *tester) work(ctx context.Context, arn secrets.ARN) {
	for ctx != nil {
		t.test(ctx, arn)
		ctx, arn = t.done(arn)
	}
}

// done ends one test and takes the next.
func (t *tester) done(arn secrets.ARN) (ctx context.Context, next secrets.ARN) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = slices.DeleteFunc(t.running, func(a secrets.ARN) bool { return a == arn })
	if ctx, next = t.take(); ctx == nil && t.idle != nil && len(t.running) == 0 {
		close(t.idle)
		t.idle = nil
	}
	return ctx, next
}

func (t *tester) test(ctx context.Context, arn secrets.ARN) {
	log := t.log(arn)
	log.Info("TestRotationStarted")
	res, err := t.s.c.Runner.Once(ctx, arn.String(), rotator.Options{DryRun: true, Rehearse: true})
	switch {
	case err == nil:
		log.Info("TestRotationSucceeded", "outcome", string(res.Outcome))
	case cancelled(ctx, err):
		log.Info("TestRotationFailed", "error", "the daemon is stopping")
	default:
		log.Warn("TestRotationFailed", "kind", secrets.KindOf(err).String(), "error", oneLine(err))
	}
	// A rotation that was asked for meanwhile found the secret claimed: it need
	// not wait any longer.
	t.s.pool.rest(arn, time.Time{})
	t.s.Wake()
}
