package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// The limits where the configuration names none.
const (
	DefaultWorkers   = 16
	DefaultPerTarget = 4
)

const (
	scanEvery   = time.Second
	purgeEvery  = 10 * time.Minute
	followEvery = 5 * time.Second
)

// Config is what a Scheduler is made of. Runner is required.
type Config struct {
	Runner *Runner
	// Workers is how many secrets rotate at a time; 0 = DefaultWorkers.
	// PerTarget is how many of them at one server; 0 = DefaultPerTarget.
	Workers, PerTarget int
	// Purge removes the secrets whose recovery window is over and returns their
	// names; it is called every ten minutes. nil = nothing is removed.
	Purge func(ctx context.Context, now time.Time) ([]string, error)
	// Follow brings replicas up to their primaries; it is called every five
	// seconds. nil = there are none.
	Follow func(ctx context.Context, now time.Time) error
	// OnEvent hears what happens in each run, OnDone how each run ended. Both
	// are called by the workers and must be quick.
	OnEvent func(rotator.Event)
	OnDone  func(Done)
}

// Done is how one run ended. Runs that found the secret claimed by another
// process, or nothing to do any more, are not reported, nor those that lost their
// claim, nor those that Stop kept from beginning.
type Done struct {
	Secret  secrets.ARN
	Result  rotator.Result
	Err     error
	NextTry time.Time // after an error: not before
}

// Scheduler is the daemon: it rotates what is due, as long as it runs.
type Scheduler struct {
	c     Config
	clock clockwork.Clock
	pool  *pool
	tests *tester
	wake  chan struct{} // asks the loop for a scan

	life    sync.Mutex // held by Start and Stop
	cron    gocron.Scheduler
	cancel  context.CancelFunc
	looping chan struct{} // closed when the loop has ended

	scan scan
	read atomic.Int64 // when the due secrets could last be read, Unix nanoseconds
	met  atomic.Int64 // when another process was last met, Unix nanoseconds; 0 = never

	finished atomic.Int64 // runs that ended well
	pressure pressure     // guarded by scan
}

// New makes a Scheduler that does not run yet.
func New(c Config) *Scheduler {
	s := &Scheduler{c: c, clock: c.Runner.Rotator.Clock, wake: make(chan struct{}, 1), pool: newPool()}
	s.tests = newTester(s)
	p := s.pool
	p.clock, p.random, p.log = s.clock, c.Runner.random, c.Runner.log()
	p.after = func(e ending) {
		if c.OnDone != nil {
			c.OnDone(e.report)
		}
	}
	p.hungry = s.Wake
	s.Reconfigure(c.Workers, c.PerTarget)
	return s
}

// Reconfigure changes the limits, also while secrets rotate; 0 is the default.
func (s *Scheduler) Reconfigure(workers, perTarget int) {
	if workers <= 0 {
		workers = DefaultWorkers
	}
	if perTarget <= 0 {
		perTarget = DefaultPerTarget
	}
	s.pool.resize(workers, perTarget)
}

// Wake says that something may have become due: the next scan is now. It does
// not block.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // asked already
	}
}

// Start begins to rotate what is due, until Stop; ctx's end stops new
// rotations too, as Stop's beginning does. A stopped Scheduler may be started
// again.
func (s *Scheduler) Start(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.cancel != nil {
		return errors.New("the scheduler runs already")
	}
	ctx, cancel := context.WithCancel(ctx)
	cron, err := s.triggers(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("starting the scheduler: %w", err)
	}
	s.cron, s.cancel, s.looping = cron, cancel, make(chan struct{})
	s.open(ctx)
	go s.loop(ctx, s.looping)
	cron.Start()
	return nil
}

// open lets the pool work; its runs end with ctx.
func (s *Scheduler) open(ctx context.Context) {
	s.pool.open(func(d service.Due) ending { return s.rotate(ctx, d) })
	s.tests.open(ctx)
}

func (s *Scheduler) loop(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			s.Scan(ctx)
		}
	}
}

// triggers makes gocron's part: it says when to look, and nothing else. The
// scan itself runs in the loop, because gocron cancels running jobs when it
// shuts down, and waits for them busily.
func (s *Scheduler) triggers(ctx context.Context) (cron gocron.Scheduler, err error) {
	log := s.pool.log
	cron, err = gocron.NewScheduler(
		gocron.WithLocation(time.UTC),
		gocron.WithClock(s.clock),
		gocron.WithLogger(quiet{log}),
	)
	if err != nil {
		return nil, err
	}
	add := func(name string, every time.Duration, f func()) {
		if err != nil {
			return
		}
		_, err = cron.NewJob(gocron.DurationJob(every), gocron.NewTask(f),
			gocron.WithName(name),
			gocron.WithSingletonMode(gocron.LimitModeReschedule),
			gocron.WithStartAt(gocron.WithStartImmediately()),
			gocron.WithEventListeners(gocron.AfterJobRunsWithPanic(func(_ uuid.UUID, name string, p any) {
				log.Error("panic in a scheduled job", "job", name, "panic", fmt.Sprintf("%T", p))
			})))
	}
	add("due", scanEvery, s.Wake)
	if s.c.Purge != nil {
		add("purge", purgeEvery, func() { s.purge(ctx) })
	}
	if s.c.Follow != nil {
		add("follow", followEvery, func() { s.follow(ctx) })
	}
	if err != nil {
		return nil, errors.Join(err, cron.Shutdown())
	}
	return cron, nil
}

func (s *Scheduler) purge(ctx context.Context) {
	names, err := s.c.Purge(ctx, s.clock.Now())
	for _, n := range names {
		s.pool.log.Info("removed: its recovery window is over", "secret", n)
	}
	if err != nil && ctx.Err() == nil {
		s.pool.log.Warn("secrets whose recovery window is over could not be removed", "error", oneLine(err))
	}
}

func (s *Scheduler) follow(ctx context.Context) {
	if err := s.c.Follow(ctx, s.clock.Now()); err != nil && ctx.Err() == nil {
		s.pool.log.Warn("replicas could not be brought up to their primaries", "error", oneLine(err))
	}
}

// Stop begins nothing more and lets the rotations under way reach a safe point:
// those before setSecret stop at once, the others go to their end. It returns
// when all have, or with an error that names those still under way when ctx
// ends; these go on by themselves, and a process that dies then leaves them to
// be resumed.
func (s *Scheduler) Stop(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.cancel == nil {
		return nil
	}
	drained, tested := s.pool.close(), s.tests.close()
	s.cancel()
	err := s.cron.ShutdownWithContext(ctx)
	if errors.Is(err, ctx.Err()) {
		err = nil // said below, with names
	}
	s.cancel = nil
	for _, done := range []<-chan struct{}{s.looping, drained, tested} {
		select {
		case <-done:
		case <-ctx.Done():
			if names := s.pool.names(); len(names) > 0 {
				return errors.Join(err, secrets.Errorf(secrets.Transient, "stopped while these secrets are still being rotated: %s", strings.Join(names, ", ")).
					WithHint("nothing is lost: the next start, or pawl rotate --due, resumes them"))
			}
		}
	}
	return err
}

// quiet hands gocron's log on; what it says is of interest to developers only.
type quiet struct{ log *slog.Logger }

func (q quiet) Debug(string, ...any)          {}
func (q quiet) Info(string, ...any)           {}
func (q quiet) Warn(msg string, args ...any)  { q.log.Debug(msg, args...) }
func (q quiet) Error(msg string, args ...any) { q.log.Warn(msg, args...) }
