package secrets

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AWSMinimumInterval is the least time between two windows that AWS Secrets
// Manager allows, and the default of scheduler.minimum_interval.
const AWSMinimumInterval = 4 * time.Hour

// What AWS answers to a schedule it does not take, word for word. Errors of
// ParseSchedule wrap one of them, so that the wire can give AWS's text while a
// person reads one that names the field.
var (
	//lint:ignore ST1005 AWS's text
	ErrScheduleExpression = errors.New("Invalid schedule expression.")
	//lint:ignore ST1005 AWS's text
	ErrScheduleRateHours = errors.New("Rate in hour should be least 4 and less than 24.")
	//lint:ignore ST1005 AWS's text
	ErrScheduleRateDays = errors.New("Rate in day should be greater than 0 and less than 1000.")
)

// Schedule says when rotation windows open, by a rate() or cron() expression
// as the AWS Secrets Manager User Guide ("Rotation schedules") defines them.
// All its times are UTC. A Schedule is immutable and may be compared with ==;
// the zero Schedule never opens.
type Schedule struct {
	expression string
	kind       scheduleKind
	rate       int  // for the rates: how many of the unit
	cron       cron // for cron()
	// spacing is the least time between two openings of one UTC day, and 24
	// hours or more where a day never has two. No window is longer.
	spacing time.Duration
}

type scheduleKind uint8

const (
	neverOpens scheduleKind = iota
	rateSeconds
	rateMinutes
	rateHours
	rateDays
	cronFields
)

// never is what the zero Schedule answers: far away, but a real time that
// timers and JSON can hold.
var never = time.Date(9999, time.January, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// ParseSchedule reads a schedule expression of at most 256 characters whose
// windows are to open at least minimum apart.
//
// With a minimum of AWSMinimumInterval or more the grammar is AWS's:
//
//	rate(N hour|hours|day|days)   hours 4-23, days 1-999
//	cron(minutes hours day-of-month month day-of-week year)
//
// where minutes are 0, hours are one number or an increment (/8, 2/10, which
// starts again each day), days and months also take lists and ranges, the year
// is *, and exactly one of the day fields is ?. A range runs upwards; weekdays
// are 1-7 or SUN-SAT; L is the last day of the month or, as the weekday,
// Saturday; SUNL or 1L the last Sunday of the month; TUE#3 the third Tuesday.
//
// With a lower minimum, which only an operator can set, there is more:
// rate(N second|seconds|minute|minutes) of less than a day, hours from 1, any
// minutes in a cron expression, and lists, ranges and * in minutes and hours.
//
// That the windows are at least minimum apart is proved for every day of the
// Gregorian calendar, not sampled. A cron expression whose dates can't exist is
// refused. The windows of an accepted one are at most 371 days apart, except
// where the day doesn't exist every year: up to 6 years for the fifth weekday of
// one month, 8 for 29 February, 40 for the fifth weekday of February.
//
// The error is Invalid, names the field, the offending text and the rule,
// hints at a right expression, and wraps the message AWS would give
// (ErrScheduleExpression, ErrScheduleRateHours or ErrScheduleRateDays).
func ParseSchedule(expression string, minimum time.Duration) (Schedule, error) {
	s, err := parseSchedule(strings.TrimSpace(expression), minimum)
	if err == nil {
		return s, nil
	}
	err.message = fmt.Sprintf("schedule %q: %s", abbreviate(expression), err.message)
	return Schedule{}, invalidParameter(err).WithHint("%s", err.hint)
}

// EveryDays is the schedule of AWS's AutomaticallyAfterDays: rate(n days), for
// n from 1 to 1000 (one more than an expression may say).
func EveryDays(n int) (Schedule, error) {
	if n < 1 || n > 1000 {
		err := rule(ErrScheduleExpression, "", "AutomaticallyAfterDays %d: must be from 1 to 1000", n)
		return Schedule{}, invalidParameter(err)
	}
	unit := "days"
	if n == 1 {
		unit = "day"
	}
	return Schedule{
		expression: fmt.Sprintf("rate(%d %s)", n, unit),
		kind:       rateDays,
		rate:       n,
		spacing:    time.Duration(n) * day,
	}, nil
}

// String returns the expression as it was given, without surrounding space;
// "" for the zero Schedule.
func (s Schedule) String() string { return s.expression }

// IsZero reports whether s is the zero Schedule, which never opens.
func (s Schedule) IsZero() bool { return s.kind == neverOpens }

// Next returns the first opening strictly after a time, and never the zero
// time. A cron schedule is absolute. A rate has no beginning of its own: it
// counts from the given time as from the last rotation (see NextFrom), so that
// feeding each answer back in lists the openings of an undisturbed secret.
func (s Schedule) Next(after time.Time) time.Time { return s.NextFrom(after) }

// NextFrom returns the opening of the next window for a secret that last
// changed at anchor. That is the later of its last rotation and the last
// change by hand: AWS counts both ("Manually updating the secret value … is
// considered a valid rotation", API reference, RotationRulesType).
//
//   - rate in days: 00:00 UTC of the anchor's day plus N days. AWS opens these
//     windows at midnight, and its NextRotationDate for 30 days after a change
//     on 2026-02-03 is 2026-03-05T23:59:59Z, the end of that day.
//   - rate in hours: the anchor's full hour plus N hours; AWS's windows open on
//     the hour.
//   - rate in minutes or seconds (not AWS's): the anchor plus N.
//   - cron: the first matching time strictly after the anchor.
func (s Schedule) NextFrom(anchor time.Time) time.Time {
	anchor = anchor.UTC()
	switch s.kind {
	case rateSeconds, rateMinutes:
		return anchor.Add(s.spacing)
	case rateHours:
		return anchor.Truncate(time.Hour).Add(s.spacing)
	case rateDays:
		return midnight(anchor).AddDate(0, 0, s.rate)
	case cronFields:
		return s.cron.next(anchor)
	default:
		return never
	}
}

// AutomaticallyAfterDays is the number of days that AWS's Describe shows beside
// an expression, as calculated after a rotation at last: N for a rate in days,
// 1 for shorter rates, and for cron the days from last to the next window, at
// least 1. It is 0 for the zero Schedule.
func (s Schedule) AutomaticallyAfterDays(last time.Time) int {
	switch s.kind {
	case neverOpens:
		return 0
	case rateDays:
		return s.rate
	case cronFields:
		return max(1, int(midnight(s.Next(last)).Sub(midnight(last))/day))
	default:
		return 1
	}
}

func midnight(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// short reports whether s is a rate in minutes or seconds, whose windows know
// no calendar.
func (s Schedule) short() bool { return s.kind == rateSeconds || s.kind == rateMinutes }

// scheduleError is a broken rule of schedules or windows: a text for people,
// the next thing to type, and the error that AWS would give instead.
type scheduleError struct {
	message string
	hint    string
	aws     error
}

func (e *scheduleError) Error() string { return e.message }
func (e *scheduleError) Unwrap() error { return e.aws }

func rule(aws error, hint, format string, args ...any) *scheduleError {
	return &scheduleError{message: fmt.Sprintf(format, args...), hint: hint, aws: aws}
}

func parseSchedule(expression string, minimum time.Duration) (Schedule, *scheduleError) {
	const example = "write rate(30 days) or cron(0 2 ? * SUN *)"
	if len(expression) > 256 {
		return Schedule{}, rule(ErrScheduleExpression, example, "has %d characters, must have at most 256", len(expression))
	}
	name, rest, _ := strings.Cut(expression, "(")
	body, closed := strings.CutSuffix(rest, ")")
	switch {
	case closed && name == "rate":
		return parseRate(expression, body, minimum)
	case closed && name == "cron":
		return parseCron(expression, body, minimum)
	default:
		return Schedule{}, rule(ErrScheduleExpression, example, "must be rate(…) or cron(…)")
	}
}

// The units of rate(), with the bounds AWS sets or, for its own units, Pawl.
var rateUnits = map[string]struct {
	kind     scheduleKind
	length   time.Duration
	most     int
	example  string
	extended bool // only below AWSMinimumInterval
	aws      error
}{
	"second": {rateSeconds, time.Second, 86399, "rate(10 seconds)", true, ErrScheduleExpression},
	"minute": {rateMinutes, time.Minute, 1439, "rate(15 minutes)", true, ErrScheduleExpression},
	"hour":   {rateHours, time.Hour, 23, "rate(4 hours)", false, ErrScheduleRateHours},
	"day":    {rateDays, day, 999, "rate(30 days)", false, ErrScheduleRateDays},
}

func parseRate(expression, body string, minimum time.Duration) (Schedule, *scheduleError) {
	words := strings.Fields(body)
	if len(words) != 2 {
		return Schedule{}, rule(ErrScheduleExpression, "write rate(4 hours) or rate(30 days)",
			"rate %q: must be a number and a unit", body)
	}
	unit, ok := rateUnits[strings.TrimSuffix(words[1], "s")]
	if !ok {
		return Schedule{}, rule(ErrScheduleExpression, "write rate(4 hours) or rate(30 days)",
			"unit %q: must be hours or days", words[1])
	}
	n, ok := number(words[0])
	if !ok {
		return Schedule{}, rule(ErrScheduleExpression, "write "+unit.example, "rate %q: must be a whole number", words[0])
	}
	if n < 1 || n > unit.most {
		return Schedule{}, rule(unit.aws, "write "+unit.example,
			"rate %q: must be from 1 to %d for %s", words[0], unit.most, words[1])
	}
	if unit.extended && minimum >= AWSMinimumInterval {
		return Schedule{}, rule(unit.aws, "write rate(4 hours), or lower scheduler.minimum_interval in the configuration file",
			"unit %q: must be hours or days while windows must be %s apart", words[1], duration(minimum))
	}
	period := time.Duration(n) * unit.length
	if period < minimum {
		return Schedule{}, rule(unit.aws, tooClose(minimum),
			"rate %q: windows would open %s apart, must be at least %s", body, duration(period), duration(minimum))
	}
	return Schedule{expression: expression, kind: unit.kind, rate: n, spacing: period}, nil
}

// tooClose says what to do about windows that open less than minimum apart.
func tooClose(minimum time.Duration) string {
	return fmt.Sprintf("leave at least %s between windows, or lower scheduler.minimum_interval in the configuration file", duration(minimum))
}

// number reads up to six decimal digits, without sign.
func number(text string) (int, bool) {
	if text == "" || len(text) > 6 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// duration is d for people: 4h, not 4h0m0s.
func duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// abbreviate keeps an error readable when the expression is not.
func abbreviate(text string) string {
	if r := []rune(text); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return text
}
