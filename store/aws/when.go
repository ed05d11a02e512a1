package aws

import (
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// When a secret is due is service.DueAt's to say, here as in Pawl's own store. It
// counts from dates: rate() from when the present value was made, cron from the
// last rotation. AWS tells versions' dates by one call for each secret, which
// would make ten thousand calls at every start. But a version was made no earlier
// than its secret, and no later than the secret last changed in any way; mostly
// that decides. Only where it does not are the dates asked for, once: they never
// change.

// reckoning is when a secret is due, as far as is known.
type reckoning struct {
	rotation secrets.Rotation
	at       time.Time      // zero = never
	window   secrets.Window // zero where there is none to mind
	// undated: its versions' dates would tell more. It is not due before at, and
	// whether it is at that time nobody knows.
	undated bool
	problem error // why it has no time, or is left alone; Invalid
}

// reckon works out when a secret is due, as seen at now. since is when this
// process first saw it.
func (s *Store) reckon(r *record, since, now time.Time) reckoning {
	c := s.settings()
	var k reckoning
	k.rotation, k.problem = s.rotation(r)
	if err := s.leftAlone(r); err != nil {
		k.rotation.Enabled, k.problem = false, err
	}
	if k.problem != nil {
		return k
	}
	if strings.HasPrefix(k.rotation.Rules.Schedule, "cron") && !r.everRotated() {
		k.rotation.Since = r.openSince(k.rotation, since, c)
	}
	latest := r.Changed
	if latest.IsZero() {
		latest = now
	}
	first, last := r.supposing(r.Created, k.rotation), r.supposing(latest, k.rotation)
	k.at, k.window, k.problem = service.DueAt(last, now, c.MinimumInterval, c.CatchUp)
	if k.problem != nil || k.at.IsZero() || r.Versions.Unfinished() {
		return k
	}
	earliest := opening(first, c)
	if earliest.Equal(opening(last, c)) {
		return k // one and the same window, whenever it was
	}
	// Rates in days open at midnight whatever the date: what is due for the
	// earliest date and for the last one is due for all between.
	if at, w, err := service.DueAt(first, now, c.MinimumInterval, c.CatchUp); err == nil && daily(k.rotation.Rules) && !at.After(now) && !k.at.After(now) {
		k.at, k.window = at, w
		return k
	}
	k.at, k.window, k.undated = earliest, secrets.Window{}, true
	if next := k.rotation.Attempt.NextTry; next.After(earliest) {
		k.at = next
	}
	return k
}

// supposing returns the secret as it is if the versions of which nobody knows
// when they were made were made at t.
func (r *record) supposing(t time.Time, rotation secrets.Rotation) *service.Secret {
	dated := *r
	dated.Versions = slices.Clone(r.Versions)
	for i := range dated.Versions {
		if v := &dated.Versions[i]; v.Created.IsZero() {
			v.Created = t
		}
	}
	current, _ := dated.Versions.With(secrets.Current)
	dated.ValueChanged = current.Created
	rotation.LastRotated = dated.lastRotated()
	dated.Rotation = &rotation
	return &dated.Secret
}

// everRotated reports whether anything shows that a rotation has completed.
func (r *record) everRotated() bool {
	v, ok := r.Versions.With(secrets.Intent)
	return ok && (v.Has(secrets.Current) || v.Has(secrets.Previous)) || !r.rotated.IsZero()
}

// opening returns when the window opens that a secret should be rotated in next,
// be it past or to come.
func opening(sec *service.Secret, c Config) time.Time {
	rotation := *sec.Rotation
	rotation.Attempt = secrets.Attempt{}
	copied := *sec
	copied.Rotation = &rotation
	// Seen from the beginning of time, nothing was missed.
	_, w, _ := service.DueAt(&copied, time.Time{}, c.MinimumInterval, c.CatchUp)
	return w.Open
}

// openSince returns since when the cron schedule of a secret counts that was never
// rotated, of which therefore no date tells since when it should have been. That
// is when this process first saw it, or when it first failed: windows from before
// are not made up, but one that was open then counts.
func (r *record) openSince(rotation secrets.Rotation, since time.Time, c Config) time.Time {
	if a := rotation.Attempt; a.Tries > 0 && a.FailingSince.Before(since) {
		since = a.FailingSince
	}
	sec := r.supposing(r.Created, rotation)
	sec.Rotation.Attempt = secrets.Attempt{}
	sec.Rotation.Paused, sec.Rotation.Enabled = false, true
	// No window of cron reaches into the next day.
	for t := since.Truncate(24 * time.Hour).Add(-time.Millisecond); ; {
		sec.Rotation.Since = t
		_, w, err := service.DueAt(sec, time.Time{}, c.MinimumInterval, c.CatchUp)
		switch {
		case err != nil || w.Open.IsZero() || w.Open.After(since) || !w.Open.After(t):
			return since
		case w.Contains(since):
			return w.Open.Add(-time.Millisecond)
		}
		t = w.Open
	}
}

// daily reports whether the rules' windows open at midnight, days apart.
func daily(r secrets.RotationRules) bool {
	return r.AfterDays != 0 || strings.HasPrefix(r.Schedule, "rate") && strings.Contains(r.Schedule, "day")
}

// datable reports whether a date that is not known matters to whoever wants to
// see exactly when a secret was rotated and when it will be.
func (r *record) datable(rotation secrets.Rotation) bool {
	for _, v := range r.Versions {
		if v.Created.IsZero() && (v.Has(secrets.Intent) || v.Has(secrets.Current) && rotation.Rules.Scheduled()) {
			return true
		}
	}
	return false
}
