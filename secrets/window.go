package secrets

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
	"strings"
	"time"
)

// What AWS answers to a window it does not take, word for word. Errors of
// ParseWindow and CheckWindow wrap one of them.
var (
	//lint:ignore ST1005 AWS's text
	ErrWindowLength = errors.New("Duration must be at least 1 hour, at most 24 hour.")
	//lint:ignore ST1005 AWS's text
	ErrWindowExceedsRate = errors.New("Duration cannot be greater than Rate in hour.")
	//lint:ignore ST1005 AWS's text
	ErrWindowExceedsDay = errors.New("Starting hour and duration must be within a day.")
)

// Window is the span in which a rotation may start: from Open up to, but not
// at, Close. Both are UTC.
type Window struct {
	Open, Close time.Time

	// Late marks a window that was opened at once because the scheduled one
	// was missed. Open is then when that one opened, and there is nothing left
	// to spread: its jitter is 0.
	Late bool
}

// Contains reports whether a rotation may start at t.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.Open) && t.Before(w.Close) }

// NextRotationDate is how AWS's Describe shows the window: by its last second,
// 23:59:59Z for one that lasts to the end of the day.
func (w Window) NextRotationDate() time.Time { return w.Close.Add(-time.Second) }

// ParseWindow reads a window's length: AWS's Duration, which is whole hours
// from 1h to 24h, or "" for the schedule's default, returned as 0. With a
// minimum below AWSMinimumInterval, Go durations from 1s to 24h such as 30m or
// 90s are read too. Whether the length fits a schedule is CheckWindow's matter.
//
// The error is Invalid and wraps ErrWindowLength.
func ParseWindow(text string, minimum time.Duration) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if hours, ok := number(strings.TrimSuffix(text, "h")); ok && strings.HasSuffix(text, "h") {
		if hours >= 1 && hours <= 24 && len(text) <= 3 {
			return time.Duration(hours) * time.Hour, nil
		}
		return 0, windowError(ErrWindowLength, "write for example 3h", "window %q: must be from 1h to 24h", abbreviate(text))
	}
	if minimum >= AWSMinimumInterval {
		return 0, windowError(ErrWindowLength, "write for example 3h", "window %q: must be whole hours, from 1h to 24h", abbreviate(text))
	}
	length, err := time.ParseDuration(text)
	if err != nil || length < time.Second || length > day {
		return 0, windowError(ErrWindowLength, "write for example 3h, 30m or 10s",
			"window %q: must be a duration from 1s to 24h", abbreviate(text))
	}
	return length, nil
}

// CheckWindow reports whether windows of length d (0: the default, which always
// fits) fit the schedule: none may reach into the next window nor, for cron and
// rates in days, into the next UTC day. Windows of a rate in hours open at any
// hour; one that would reach past midnight ends there (see WindowAt).
//
// The error is Invalid and wraps ErrWindowLength, ErrWindowExceedsRate or
// ErrWindowExceedsDay.
func (s Schedule) CheckWindow(d time.Duration) error {
	switch {
	case d == 0 || s.IsZero():
		return nil
	case d < 0 || d > day:
		return windowError(ErrWindowLength, "write for example 3h", "window %s: must be positive and at most 24h", duration(d))
	case d > s.spacing:
		return windowError(ErrWindowExceedsRate, "write "+duration(s.spacing)+" or less",
			"window %s: reaches into the next window of %s, which opens %s later", duration(d), s, duration(s.spacing))
	case s.kind == cronFields && s.cron.last()+d > day:
		rest := day - s.cron.last()
		return windowError(ErrWindowExceedsDay, "write "+duration(rest)+" or less",
			"window %s: reaches into the next UTC day, which begins %s after the last window of %s opens", duration(d), duration(rest), s)
	}
	return nil
}

func windowError(aws error, hint, format string, args ...any) error {
	return invalidParameter(rule(aws, "", format, args...)).WithHint("%s", hint)
}

// WindowAt returns the window that opens at open and lasts d. With d 0 it lasts
// as AWS's default: to the end of the UTC day if no day has two openings,
// otherwise one hour, or up to the next opening where that is sooner. Whatever
// d is, the window reaches neither into the schedule's next one nor, except for
// rates in minutes and seconds, into the next UTC day.
func (s Schedule) WindowAt(open time.Time, d time.Duration) Window {
	w := Window{Open: open.UTC(), Close: open.UTC().Add(s.length(d))}
	if end := midnight(open).Add(day); !s.short() && w.Close.After(end) {
		w.Close = end
	}
	return w
}

// length is how long a window lasts if midnight doesn't end it sooner.
func (s Schedule) length(d time.Duration) time.Duration {
	switch {
	case d > 0:
	case s.spacing < day:
		d = time.Hour
	default:
		d = day
	}
	return min(d, s.spacing)
}

// Missed reports whether the window that was scheduled for a secret that last
// changed at anchor is over at now.
func (s Schedule) Missed(anchor time.Time, d time.Duration, now time.Time) bool {
	return !now.Before(s.WindowAt(s.NextFrom(anchor), d).Close)
}

// Due returns the window, of length d (0: the default), in which a secret that
// last changed at anchor should rotate next, as seen at now. It depends on
// nothing else, so that a restart neither repeats nor forgets, and the window's
// Close is always after now.
//
// As long as the scheduled window (NextFrom) is not over, it is that one. When
// it was missed, the rotation is made up
//
//   - with catchUp, and for rates in minutes and seconds: at once, in a Late
//     window that contains now;
//   - otherwise in the first of these windows that is not over at now, which
//     may be open already: the same hours of the following days, the cron
//     schedule's own further windows, and for a rate in hours the windows every
//     N hours after the missed one. So a monthly window of 02:00-04:00 is made
//     up at 02:00-04:00 of the next day, never outside these hours, and of a
//     schedule with several windows a day only the next one is used.
func (s Schedule) Due(anchor time.Time, d time.Duration, now time.Time, catchUp bool) Window {
	now = now.UTC()
	missed := s.WindowAt(s.NextFrom(anchor), d)
	if now.Before(missed.Close) {
		return missed
	}
	if catchUp || s.short() {
		return Window{Open: missed.Open, Close: now.Add(s.length(d)), Late: true}
	}
	due := sameHours(missed, now)
	own := due
	switch s.kind {
	case cronFields:
		own = s.openOrNext(d, now)
	case rateHours:
		own = s.everyHours(missed.Open, d, now)
	}
	if own.Open.Before(due.Open) {
		return own
	}
	return due
}

// sameHours moves a past window by whole days to the first day on which it is
// not over at now.
func sameHours(w Window, now time.Time) Window {
	open := midnight(now).Add(w.Open.Sub(midnight(w.Open)))
	length := w.Close.Sub(w.Open)
	if !now.Before(open.Add(length)) {
		open = open.Add(day)
	}
	return Window{Open: open, Close: open.Add(length)}
}

// everyHours returns the first window that is not over at now of those that
// open every N hours after a past opening of a rate in hours.
func (s Schedule) everyHours(open time.Time, d time.Duration, now time.Time) Window {
	// In whole seconds, because a Duration ends at 292 years, and a secret
	// that never changed may come with the zero time as its anchor.
	period := int64(s.spacing / time.Second)
	elapsed := (now.Unix() - open.Unix()) / period * period
	w := s.WindowAt(time.Unix(open.Unix()+elapsed, 0), d)
	if !now.Before(w.Close) {
		w = s.WindowAt(w.Open.Add(s.spacing), d)
	}
	return w
}

// openOrNext returns the first window of a cron schedule that is not over at
// now. One that opened longer ago than a window lasts is; midnight may have
// ended a later one too.
func (s Schedule) openOrNext(d time.Duration, now time.Time) Window {
	w := s.WindowAt(s.Next(now.Add(-s.length(d))), d)
	for !now.Before(w.Close) {
		w = s.WindowAt(s.Next(w.Open), d)
	}
	return w
}

// Jitter returns how long after the window's Open the rotation of key should
// start, so that thousands of secrets with one schedule don't arrive together.
// It is the same for the same key whenever it is asked for, lies in
// [0, min(window's length, limit)), spreads keys evenly over that span, and is
// 0 for a Late window. Keys are hashed with SHA-256; names that differ in one
// character land anywhere.
func Jitter(key string, w Window, limit time.Duration) time.Duration {
	span := min(w.Close.Sub(w.Open), limit)
	if w.Late || span <= 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(key))
	offset, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), uint64(span))
	return time.Duration(offset)
}
