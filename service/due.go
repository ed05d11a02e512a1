package service

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// maxJitter bounds how far into its window a rotation is put off so that those
// of one schedule don't arrive together.
const maxJitter = time.Hour

// readRules parses when a secret rotates. Errors: Invalid.
func readRules(r secrets.RotationRules, minimum time.Duration) (schedule secrets.Schedule, window time.Duration, err error) {
	if schedule, err = r.ReadSchedule(minimum); err != nil || schedule.IsZero() {
		return secrets.Schedule{}, 0, err
	}
	if window, err = secrets.ParseWindow(r.Window, minimum); err == nil {
		err = schedule.CheckWindow(window)
	}
	if err != nil {
		return secrets.Schedule{}, 0, err
	}
	return schedule, window, nil
}

// anchor is the time from which the next window counts. A rate starts again
// with every new value, also one put by hand; a cron schedule minds only its
// own rotations, and no window from before it was declared.
func anchor(sec *Secret) time.Time {
	r := sec.Rotation
	if r.Rules.AfterDays != 0 || strings.HasPrefix(r.Rules.Schedule, "rate") {
		return sec.ValueChanged
	}
	if r.LastRotated.After(r.Since) {
		return r.LastRotated
	}
	return r.Since
}

// DueAt says when the scheduler should next rotate a secret, as seen at now,
// and in which window; zero for never. An unfinished rotation has no window:
// finishing it is what brings safety, also after its declaration is gone. A
// replica has what its primary makes. An error, always Invalid, says why a
// secret that should rotate has no time.
func DueAt(sec *Secret, now time.Time, minimum time.Duration, catchUp bool) (at time.Time, w secrets.Window, err error) {
	r := sec.Rotation
	if r == nil || onHold(sec) || !sec.Deleted.IsZero() || sec.PrimaryRegion != "" {
		return time.Time{}, w, nil
	}
	if sec.Versions.Unfinished() {
		if r.Attempt.NextTry.IsZero() {
			return now, w, nil
		}
		return r.Attempt.NextTry, w, nil
	}
	if !r.Enabled || !r.Rules.Scheduled() {
		return time.Time{}, w, nil
	}
	schedule, length, err := readRules(r.Rules, minimum)
	if err != nil {
		return time.Time{}, w, err
	}
	if sec.Versions.IDWith(secrets.Current) == "" {
		return time.Time{}, w, secrets.Errorf(secrets.Invalid, "the secret has no value yet").
			WithHint("give it one: pawl secret put %s --value-file F", sec.ARN.Name)
	}
	// What may not be tried before NextTry is seen from there: the same window
	// where that is in it, the following one where it is over by then.
	if r.Attempt.NextTry.After(now) {
		now = r.Attempt.NextTry
	}
	w = schedule.Due(anchor(sec), length, now, catchUp)
	at = w.Open.Add(secrets.Jitter(sec.ARN.String(), w, maxJitter)).Truncate(time.Microsecond) // as stores keep it
	if r.Attempt.NextTry.After(at) {
		at = r.Attempt.NextTry
	}
	return at, w, nil
}

// onHold reports whether a pause keeps the scheduler away. It does not from the
// one rotation that somebody asked for by name.
func onHold(sec *Secret) bool {
	r := sec.Rotation
	return r.Paused && !(r.Asked != "" && sec.Versions.Unfinished() &&
		(sec.Versions.IDWith(secrets.Pending) == r.Asked || sec.Versions.IDWith(secrets.Intent) == r.Asked))
}

// nextRotationDate is what AWS calls so: the last second of the window in which
// the secret rotates next; while it keeps failing, of the one it should have
// rotated in, which may be past. It is zero where rotation is off or has no
// schedule.
// Source: AWS Secrets Manager API reference, DescribeSecret.
func (s *Service) nextRotationDate(sec *Secret, now time.Time) time.Time {
	r := sec.Rotation
	if r == nil || !r.Enabled || r.Paused || !sec.Deleted.IsZero() || sec.Versions.IDWith(secrets.Current) == "" {
		return time.Time{}
	}
	p := s.rules()
	schedule, length, err := readRules(r.Rules, p.minimum)
	if err != nil || schedule.IsZero() {
		return time.Time{}
	}
	from := anchor(sec)
	w := schedule.WindowAt(schedule.NextFrom(from), length)
	if r.Attempt.Tries == 0 && !now.Before(w.Close) {
		w = schedule.Due(from, length, now, p.catchUp)
	}
	return w.NextRotationDate()
}

// due is DueAt by the service's configuration.
func (s *Service) due(sec *Secret, now time.Time) (time.Time, secrets.Window, error) {
	p := s.rules()
	return DueAt(sec, now, p.minimum, p.catchUp)
}

// nextDue is what DueAt should be. What became due stays where it was in the
// queue.
func (s *Service) nextDue(sec *Secret, now time.Time) time.Time {
	at, _, _ := s.due(sec, now)
	if at.Equal(now) && !sec.DueAt.IsZero() && sec.DueAt.Before(now) {
		return sec.DueAt
	}
	return at
}

// Following returns the rotations that come after the one r is planned for, up to
// a time and at most n, as they will be if each succeeds when it is due.
func (s *Service) Following(r RotationStatus, until time.Time, n int) []Planned {
	return Foresee(r, until, n, s.rules().minimum)
}

// Foresee is Following for who has windows at least minimum apart.
func Foresee(r RotationStatus, until time.Time, n int, minimum time.Duration) []Planned {
	if !r.Enabled || r.Paused || r.At.IsZero() || !r.Rules.Scheduled() {
		return nil
	}
	schedule, length, err := readRules(r.Rules, minimum)
	if err != nil {
		return nil
	}
	var out []Planned
	for last := r.At; len(out) < n; {
		w := schedule.Due(last, length, last, false)
		last = w.Open.Add(secrets.Jitter(r.ARN.String(), w, maxJitter))
		if last.After(until) {
			break
		}
		out = append(out, Planned{At: last, Window: w})
	}
	return out
}

// Planned is when a rotation will be, and the window that is in.
type Planned struct {
	At     time.Time
	Window secrets.Window
}

// Due is a secret that the scheduler should look at.
type Due struct {
	ARN        secrets.ARN
	Target     string // host:port where its password is changed, or the ARN of its function; "" if that can't be read
	Unfinished bool   // a rotation of it, or the undo of one, has begun and not ended
	// At and Window are worked out anew at the time Due was asked for. At is
	// zero or later than that where the plan the store kept is out of date,
	// say because the window went by while nobody looked: Reschedule it.
	At     time.Time
	Window secrets.Window // zero when Unfinished
	// After is the place after it, to ask for what comes next.
	After DueAfter
}

// Due returns up to n secrets of all accounts and regions that the store has
// down for now or earlier, oldest first, from the place after on.
func (s *Service) Due(ctx context.Context, now time.Time, after DueAfter, n int) ([]Due, error) {
	found, err := s.store.Due(ctx, now, after, n)
	if err != nil {
		return nil, err
	}
	ds := make([]Due, len(found))
	for i, sec := range found {
		at, w, _ := s.due(sec, now)
		ds[i] = Due{
			ARN: sec.ARN, Target: s.target(ctx, sec), At: at, Window: w,
			Unfinished: sec.Versions.Unfinished(), After: DueAfterOf(sec),
		}
	}
	return ds, nil
}

// Backlog counts what is due at now, up to most, and tells since when the oldest
// is.
func (s *Service) Backlog(ctx context.Context, now time.Time, most int) (n int, oldest time.Time, err error) {
	return s.store.Backlog(ctx, now, most)
}

// Reschedule works out anew, as seen at now, when a secret is due. Nothing is
// written where that is what the store has. Errors: ResourceNotFoundException.
func (s *Service) Reschedule(ctx context.Context, arn secrets.ARN, now time.Time) error {
	now = now.UTC().Truncate(time.Millisecond)
	_, err := s.store.Update(ctx, arn, func(sec *Secret) (Sealed, error) {
		at := s.nextDue(sec, now)
		if at.Equal(sec.DueAt) {
			return nil, errUnchanged
		}
		sec.DueAt = at
		return nil, nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return known(err, arn.Name)
}
