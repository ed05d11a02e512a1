package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/service"
)

const (
	// late is how overdue a secret must be that waits for a worker, and for how long
	// some must have waited so, until the workers are too few.
	late = time.Minute
	// warnEvery is how often that is said.
	warnEvery = time.Minute
	// calm is for how long none must have waited until it is over.
	calm = 10 * time.Second
	// mostCounted bounds the counting of what is due.
	mostCounted = 100_000
	// rateOver is the time over which the rate is measured.
	rateOver = 5 * time.Minute
)

// pressure is what is known of there being more to rotate than the workers can do.
// The zero pressure says that all is well.
type pressure struct {
	since  time.Time // some have been late and waited since then; zero = none are
	seen   time.Time // when that was last so
	warned time.Time // zero = not since it began
	// samples are of the last minutes, oldest first, one for each warning and one
	// from when it began.
	samples []sample
}

// sample is how far the work was at a time.
type sample struct {
	at       time.Time
	due      int // -1 = not counted
	finished int64
}

// press warns once a minute while more is due than the workers can do, and says
// when that is over. What waits for a target that does not answer is no such thing.
func (s *Scheduler) press(ctx context.Context) {
	now, p := s.clock.Now(), &s.pressure
	oldest, limit := s.pool.waiting()
	switch {
	case limit != "" && now.Sub(oldest) > late:
		p.seen = now
		if p.since.IsZero() {
			p.since = now
			p.samples = []sample{{now, -1, s.finished.Load()}}
		}
	case !p.since.IsZero() && now.Sub(p.seen) >= calm:
		if !p.warned.IsZero() {
			s.pool.log.Info("the workers are enough again for what is due", "after", now.Sub(p.since).Round(time.Second))
		}
		*p = pressure{}
		return
	}
	if p.since.IsZero() || !p.seen.Equal(now) || now.Sub(p.since) < late || now.Sub(p.warned) < warnEvery {
		return
	}
	due, first, err := s.c.Runner.Plan.Backlog(ctx, now, mostCounted)
	if err != nil {
		return // that the plan can't be read is said elsewhere
	}
	p.warned = now
	this := sample{now, due, s.finished.Load()}
	e := p.estimate(this)
	p.add(this)
	count := fmt.Sprint(due)
	if due >= mostCounted {
		count = fmt.Sprintf("%d or more", mostCounted)
	}
	s.pool.log.Warn("more is due than the workers can do; the oldest goes first", "due", count, "since", first.UTC(),
		"per_minute", e.perMinute, "done_in", e.left, "raise", limit)
}

// estimate is what can be said of the time to come.
type estimate struct {
	perMinute int64  // rotations that this process finishes
	left      string // until nothing is late any more, at the rate of the last minutes
}

// estimate says how long it will take: by how fast what is due gets less, which is
// the doing of all processes, and counts what becomes due meanwhile; before that is
// known by what this one finishes.
func (p *pressure) estimate(now sample) estimate {
	var e estimate
	begun := p.samples[0]
	took := now.at.Sub(begun.at)
	if took <= 0 {
		return estimate{left: "unknown"}
	}
	done := now.finished - begun.finished
	e.perMinute = int64(float64(done) / took.Minutes())
	less := done
	counted := false
	for _, then := range p.samples {
		if then.due >= 0 && then.due < mostCounted && now.at.After(then.at) {
			less, took, counted = int64(then.due-now.due), now.at.Sub(then.at), true
			break
		}
	}
	switch {
	case less <= 0 && counted:
		e.left = "never at this rate: what is due does not get less"
	case less <= 0:
		e.left = "unknown: nothing was finished yet"
	default:
		left := time.Duration(float64(took) / float64(less) * float64(now.due))
		e.left = left.Round(time.Second).String()
		if now.due >= mostCounted {
			e.left = "more than " + e.left
		}
	}
	return e
}

// add remembers a sample, and forgets those that are too old but one.
func (p *pressure) add(now sample) {
	p.samples = append(p.samples, now)
	for len(p.samples) > 2 && now.at.Sub(p.samples[1].at) >= rateOver {
		p.samples = p.samples[1:]
	}
}

// waiting returns since when the oldest of those is due that wait for a worker, and
// which limit they wait for; "" where none waits.
func (p *pool) waiting() (oldest time.Time, limit string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var targets []string
	for _, j := range p.queue {
		if p.active < p.workers && p.target(j.Target).running < p.perTarget {
			continue // it is about to begin
		}
		if at := dueSince(j.Due); oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
		if t := j.Target; t != "" && len(targets) < 3 && !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	switch {
	case oldest.IsZero():
		return oldest, ""
	case p.active >= p.workers:
		return oldest, fmt.Sprintf("scheduler.workers (now %d), or with PostgreSQL as the store run another replica", p.workers)
	}
	return oldest, fmt.Sprintf("scheduler.per_target (now %d), for they wait for %s", p.perTarget, strings.Join(targets, ", "))
}

// dueSince is when a secret became due, as the store has it.
func dueSince(d service.Due) time.Time {
	if !d.After.At.IsZero() {
		return d.After.At
	}
	return d.At
}
