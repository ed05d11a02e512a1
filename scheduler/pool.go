package scheduler

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	// maxQueue bounds how many secrets wait for a worker; one has some 400 bytes.
	maxQueue = 4096
	// queuedPerSlot bounds, per worker that a target may have, how many of its
	// secrets wait, so that a slow target leaves the queue to the others.
	queuedPerSlot = 16
)

// pool runs secrets on a bounded number of workers, at most perTarget of them
// at one target, and none at a target whose breaker is open. A worker is a
// goroutine that lives while it finds work. Secrets whose target is not known
// share the target "", which has no breaker.
type pool struct {
	clock  clockwork.Clock
	random func() float64
	log    *slog.Logger
	// after is called when the secret's slot is free again.
	after func(ending)
	// hungry asks for a scan: there was more to do than the queue holds, and it
	// runs dry. It must not block.
	hungry func()

	mu                 sync.Mutex
	run                runner // of the present opening
	accepting          bool
	workers, perTarget int
	active, goroutines int
	drained            chan struct{} // closed when goroutines becomes 0; nil while nobody waits
	queue              []*job        // oldest first
	jobs               map[secrets.ARN]*job
	targets            map[string]*target // those with anything in them
	resting            map[secrets.ARN]time.Time
	overflow           bool // secrets were turned away because the queue was full
}

// runner rotates one secret on the calling goroutine.
type runner func(service.Due) ending

// job is a secret that waits for a worker or has one.
type job struct {
	service.Due
	running, probe bool
}

// target is what the pool knows of one server.
type target struct {
	queued, running int
	turnedAway      bool // some of its secrets, because too many wait already
	breaker         breaker
}

// ending is how a run ended.
type ending struct {
	verdict verdict
	rest    time.Time // don't run the secret again before; zero = as the store says
	report  Done
	silent  bool // nobody is told
}

func newPool() *pool {
	return &pool{
		jobs:    map[secrets.ARN]*job{},
		targets: map[string]*target{},
		resting: map[secrets.ARN]time.Time{},
	}
}

func (p *pool) target(name string) *target {
	t := p.targets[name]
	if t == nil {
		t = &target{}
		p.targets[name] = t
	}
	return t
}

// forget drops a target that holds nothing.
func (p *pool) forget(name string) {
	if t := p.targets[name]; t != nil && t.queued == 0 && t.running == 0 && !t.turnedAway && t.breaker.idle() {
		delete(p.targets, name)
	}
}

// beginScan forgets what the last scan left behind. It reports whether there is
// room for anything new.
func (p *pool) beginScan() (room bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	for arn, until := range p.resting {
		if !now.Before(until) {
			delete(p.resting, arn)
		}
	}
	p.overflow = len(p.queue) >= maxQueue
	if p.overflow || !p.accepting {
		return false
	}
	for name, t := range p.targets {
		t.turnedAway = false
		p.forget(name)
	}
	return true
}

// rest keeps a secret away until a time, without a word in the store.
func (p *pool) rest(arn secrets.ARN, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting[arn] = until
}

// busy reports whether there is no use in looking at the secret now.
func (p *pool) busy(arn secrets.ARN) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passes(arn)
}

func (p *pool) passes(arn secrets.ARN) bool {
	if _, ok := p.jobs[arn]; ok {
		return true
	}
	until, ok := p.resting[arn]
	return ok && p.clock.Now().Before(until)
}

// offer takes a due secret, unless it is here already or its target takes no
// more. full says that no other would be taken either.
func (p *pool) offer(d service.Due) (full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.accepting {
		return true
	}
	if p.passes(d.ARN) {
		return false
	}
	t := p.target(d.Target)
	defer p.forget(d.Target)
	if t.queued >= queuedPerSlot*p.perTarget {
		t.turnedAway = true
		return false
	}
	if len(p.queue) >= maxQueue {
		p.overflow = true
		return true
	}
	if !t.breaker.admit(p.clock.Now()) {
		return false
	}
	j := &job{Due: d, probe: t.breaker.isOpen()}
	p.jobs[d.ARN] = j
	t.queued++
	// Nothing older in the queue can run, or it would run: only j might.
	if p.active < p.workers && t.running < p.perTarget {
		p.start(j)
	} else {
		p.queue = append(p.queue, j)
	}
	return false
}

// start gives a secret that is not on the queue any more a worker of its own.
func (p *pool) start(j *job) {
	p.begin(j)
	p.goroutines++
	go p.work(j, p.run)
}

func (p *pool) begin(j *job) {
	t := p.target(j.Target)
	t.queued--
	t.running++
	p.active++
	j.running = true
}

// take takes the oldest secret that may run off the queue; nil for none.
func (p *pool) take() *job {
	if p.active >= p.workers {
		return nil
	}
	for i, j := range p.queue {
		if p.target(j.Target).running < p.perTarget {
			p.queue = slices.Delete(p.queue, i, i+1)
			return j
		}
	}
	return nil
}

func (p *pool) work(j *job, run runner) {
	for j != nil {
		e := run(j.Due)
		j, run = p.finish(j, e)
		if !e.silent {
			p.after(e)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.goroutines--; p.goroutines == 0 && p.drained != nil {
		close(p.drained)
		p.drained = nil
	}
}

// finish gives a secret's slot back and takes the next, if any.
func (p *pool) finish(j *job, e ending) (next *job, run runner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	t := p.target(j.Target)
	defer p.forget(j.Target)
	delete(p.jobs, j.ARN)
	p.active--
	t.running--
	if !e.rest.IsZero() {
		p.resting[j.ARN] = e.rest
	}
	if j.Target != "" && t.breaker.record(e.verdict, j.probe, now, p.random()) {
		if t.breaker.isOpen() {
			p.unqueue(j.Target)
			p.log.Warn("the target does not answer; its secrets wait", "target", j.Target, "until", t.breaker.until)
		} else {
			p.log.Info("the target answers again", "target", j.Target)
			p.hungry()
		}
	}
	if p.accepting {
		if next = p.take(); next != nil {
			p.begin(next)
		}
	}
	if t.turnedAway && t.queued == 0 {
		t.turnedAway = false
		p.hungry()
	}
	if p.overflow && len(p.queue) <= maxQueue/2 {
		p.overflow = false
		p.hungry()
	}
	return next, p.run
}

// unqueue drops a target's waiting secrets; they stay due in the store.
func (p *pool) unqueue(name string) {
	p.queue = slices.DeleteFunc(p.queue, func(j *job) bool {
		if j.Target != name {
			return false
		}
		delete(p.jobs, j.ARN)
		return true
	})
	t := p.target(name)
	t.queued, t.turnedAway = 0, false
}
