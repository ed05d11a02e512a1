package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/strategies"
)

const (
	// page is how many due secrets are read at a time, deepest how many by one scan:
	// secrets of targets that don't answer stay due and stand in front, so that one
	// must read past them to what can run.
	page    = 512
	deepest = 1 << 15
	// maxReschedules bounds the writes of one scan; the rest is for the next.
	maxReschedules = 256
	// maxQuiet bounds the rest after a long scan.
	maxQuiet = 5 * time.Second
	// complainEvery is how often an error that does not go away is logged.
	complainEvery = time.Minute
)

// scan is what one scan leaves to the next.
type scan struct {
	sync.Mutex                  // one scan at a time
	from       service.DueAfter // where to go on: the last one had to stop at deepest
	quietUntil time.Time        // no scan before

	complaint string // the last trouble logged, "" while all is well
	since     time.Time
}

// Scan looks once at what is due and hands it to the workers, oldest first. The
// running Scheduler does it every second, and when the workers run out of work.
//
// Where other processes rotate from the same store, each takes what is due in an
// order of its own within a page: in the same order each would come to every secret
// a moment after another one had claimed it.
//
// A scan that took long is followed by three times as long without one, up to
// 5 s: what a large backlog costs the store stays bounded. So does its memory: a
// page, and what waits in the queue.
func (s *Scheduler) Scan(ctx context.Context) {
	s.scan.Lock()
	defer s.scan.Unlock()
	began := s.clock.Now()
	if began.Before(s.scan.quietUntil) {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.pool.log.Error("panic in the scan for due secrets", "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		}
		now := s.clock.Now()
		s.scan.quietUntil = now.Add(min(3*now.Sub(began), maxQuiet))
	}()
	s.press(ctx)
	if !s.pool.beginScan() {
		return
	}
	after := s.scan.from
	s.scan.from = service.DueAfter{}
	reschedules := 0
	for read := 0; ; {
		now := s.clock.Now()
		ds, err := s.c.Runner.Plan.Due(ctx, now, after, page)
		if err != nil {
			s.complain(ctx, err)
			return
		}
		if last := len(ds) - 1; last >= 0 {
			after = ds[last].After
		}
		if s.inCompany(now) {
			shuffle(ds, s.c.Runner.random)
		}
		full := false
		for _, d := range ds {
			if full || ctx.Err() != nil {
				break
			}
			switch {
			case !outdated(d, now):
				full = s.pool.offer(d)
			case reschedules < maxReschedules && !s.pool.busy(d.ARN):
				reschedules++
				s.reschedule(ctx, d, now)
			}
		}
		s.complain(ctx, nil)
		read += len(ds)
		switch {
		case full || len(ds) < page || ctx.Err() != nil:
		case read >= deepest:
			s.scan.from = after
		default:
			continue
		}
		break
	}
	if reschedules >= maxReschedules {
		s.Wake()
	}
}

// companyLasts is how long after the last sign of another process one is thought to
// be there.
const companyLasts = time.Minute

// meet notes a sign of another process that rotates from the same store: a secret
// that it had claimed, or done, when its turn came here.
func (s *Scheduler) meet(now time.Time) { s.met.Store(now.UnixNano()) }

func (s *Scheduler) inCompany(now time.Time) bool {
	at := s.met.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) < companyLasts
}

// shuffle puts a page into any order.
func shuffle(ds []service.Due, random func() float64) {
	for i := len(ds) - 1; i > 0; i-- {
		j := int(random() * float64(i+1))
		ds[i], ds[j] = ds[j], ds[i]
	}
}

// LastScan is when the due secrets could last be read; for health checks. It is
// the epoch before the first time.
func (s *Scheduler) LastScan() time.Time { return time.Unix(0, s.read.Load()) }

// outdated reports whether the plan in the store is not today's any more: the
// window went by, or the next try lies outside of it. What is unfinished has no
// window to mind.
func outdated(d service.Due, now time.Time) bool {
	return d.At.IsZero() || d.At.After(now) || !d.Unfinished && !d.Window.Contains(now)
}

func (s *Scheduler) reschedule(ctx context.Context, d service.Due, now time.Time) {
	if err := s.c.Runner.Plan.Reschedule(ctx, d.ARN, now); err != nil && ctx.Err() == nil {
		s.pool.rest(d.ARN, s.shortly(now))
		s.pool.log.Warn("could not be rescheduled", "secret", d.ARN.Name, "error", oneLine(err))
		return
	}
	s.pool.log.Debug("not due any more as planned; rescheduled", "secret", d.ARN.Name)
}

// shortly is when to look again at a secret of which the store can't say when:
// 1 to 10 s from now.
func (s *Scheduler) shortly(now time.Time) time.Time {
	return now.Add(time.Second + time.Duration(s.c.Runner.random()*float64(9*time.Second)))
}

// complain logs that the plan can't be read: at first, when the reason changes,
// each minute, and when it is over.
func (s *Scheduler) complain(ctx context.Context, err error) {
	now := s.clock.Now()
	if err == nil {
		s.read.Store(now.UnixNano())
	}
	switch {
	case ctx.Err() != nil:
	case err == nil && s.scan.complaint != "":
		s.scan.complaint = ""
		s.pool.log.Info("the due secrets can be read again")
	case err != nil && (s.scan.complaint != oneLine(err) || now.Sub(s.scan.since) >= complainEvery):
		s.scan.complaint, s.scan.since = oneLine(err), now
		s.pool.log.Error("the due secrets can't be read", "error", s.scan.complaint)
	}
}

// rotate is one run of a due secret, on a worker.
func (s *Scheduler) rotate(ctx context.Context, d service.Due) ending {
	log := s.pool.log.With("secret", d.ARN.Name)
	a := s.c.Runner.once(ctx, d.ARN.String(), func(r secrets.Rotation) (rotator.Options, bool) {
		now := s.clock.Now()
		if !stillDue(d, r, now) {
			return rotator.Options{}, false
		}
		log.Info("rotation begun", "target", d.Target, "unfinished", d.Unfinished, "tries", r.Attempt.Tries)
		return rotator.Options{
			ResumeOnly: d.Unfinished && !d.Window.Contains(now),
			Report:     func(e rotator.Event) { s.heard(log, e) },
		}, true
	})
	e := ending{report: Done{Secret: d.ARN, Result: a.result, Err: a.err, NextTry: a.next}}
	now := s.clock.Now()
	switch {
	case a.skipped:
		s.meet(now)
		e.silent, e.rest = true, now.Add(scanEvery)
		log.Debug("not due any more")
		return e
	case a.err == nil:
		s.finished.Add(1)
		log.Info("rotation finished", "version", a.result.Version, "outcome", string(a.result.Outcome), "took", a.result.Took, "gap", a.result.Gap)
	case !a.claimed && secrets.KindOf(a.err) == secrets.Conflict:
		s.meet(now)
		e.silent, e.rest = true, s.shortly(now)
		if service.HeldBy(a.err) != nil {
			// A store with such claims leaves it out of what is due until it can be
			// had, and then it should be had at once: its holder may have died.
			e.rest = now.Add(scanEvery)
		}
		log.Debug("another process is rotating it", "error", oneLine(a.err))
		return e
	case errors.Is(a.err, rotator.ErrLost):
		e.silent, e.rest = true, now.Add(scanEvery)
		log.Warn("the claim was lost; whoever rotates the secret next goes on with it", "error", oneLine(a.err), "took", a.result.Took)
		return e
	case !a.claimed && cancelled(ctx, a.err):
		e.silent = true
		return e
	case cancelled(ctx, a.err):
		log.Info("rotation stopped before the password was set; the next start goes on with it")
		return e
	default:
		if !a.saved {
			e.rest = a.next
			if e.rest.IsZero() {
				e.rest = s.shortly(now)
			}
			e.report.NextTry = e.rest
		}
		level := slog.LevelWarn
		if hopeless(secrets.KindOf(a.err)) {
			level = slog.LevelError
		}
		log.Log(ctx, level, "rotation failed", "version", a.result.Version, "kind", secrets.KindOf(a.err).String(),
			"error", oneLine(a.err), "took", a.result.Took, "next_try", e.report.NextTry)
	}
	e.verdict = judge(a, d.Target)
	return e
}

// stillDue decides on what is true now that the secret is claimed: since the
// scan, a person or another process may have paused, rotated or tried it.
func stillDue(d service.Due, r secrets.Rotation, now time.Time) bool {
	switch {
	case r.Paused, !r.Enabled && !d.Unfinished:
		return false
	case r.Attempt.NextTry.After(now): // tried meanwhile
		return false
	case !r.LastRotated.Before(d.At.Truncate(time.Millisecond)): // rotated meanwhile; stores keep milliseconds
		return false
	}
	return !outdated(d, now)
}

func (s *Scheduler) heard(log *slog.Logger, e rotator.Event) {
	switch {
	case e.Note != "":
		log.Info(e.Note, "step", e.Step)
	case e.Done:
		log.Debug("step done", "step", e.Step, "version", e.Version, "took", e.Took)
	default:
		log.Debug("step begun", "step", e.Step, "version", e.Version)
	}
	if s.c.OnEvent != nil {
		s.c.OnEvent(e)
	}
}

// judge reads from a run whether its target answered. Troubles of the store, which
// may be a server itself, of a further host, and of the secret say nothing about the
// target.
func judge(a attempt, target string) verdict {
	var lag *strategies.PropagationError
	switch {
	case !a.claimed || a.skipped:
		return silent
	case a.err == nil && a.result.Outcome == rotator.AtRest:
		return silent
	case a.err == nil, errors.As(a.err, &lag):
		return healthy
	}
	server := serverOf(a.err)
	there := server != "" && isAt(server, target)
	switch secrets.KindOf(a.err) {
	case secrets.Transient, secrets.Unknown:
		if there || server == "" && errors.Is(a.err, context.DeadlineExceeded) {
			return sick
		}
	case secrets.Denied, secrets.Invalid:
		if there {
			return healthy
		}
	}
	return silent
}

// serverOf returns the server that an error came from talking to; "" for none.
func serverOf(err error) string {
	for err != nil {
		var e *secrets.Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Server != "" {
			return e.Server
		}
		err = e.Err
	}
	return ""
}

// isAt reports whether a server is the target, or who calls the function that is
// the target: of those a rotation by a function names no other.
func isAt(server, target string) bool {
	return strings.HasPrefix(target, "arn:") || secrets.SameServer(target, server)
}
