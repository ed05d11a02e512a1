package secrets

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawSchedule draws a schedule that is accepted with the returned minimum:
// AWS's or an operator's.
func drawSchedule(t *rapid.T) (Schedule, time.Duration) {
	minimum := rapid.SampledFrom([]time.Duration{AWSMinimumInterval, AWSMinimumInterval, time.Hour, 10 * time.Minute, time.Second}).Draw(t, "minimum")
	expression := rapid.OneOf(rapid.Custom(drawRate), rapid.Custom(drawCron)).
		Filter(func(e string) bool { _, err := ParseSchedule(e, minimum); return err == nil }).
		Draw(t, "expression")
	return mustSchedule(t, expression, minimum), minimum
}

func drawRate(t *rapid.T) string {
	unit := rapid.SampledFrom([]string{"second", "minutes", "hour", "hours", "hours", "day", "days", "days"}).Draw(t, "unit")
	most := map[byte]int{'s': 86399, 'm': 1439, 'h': 23, 'd': 999}[unit[0]]
	return fmt.Sprintf("rate(%d %s)", rapid.IntRange(1, most).Draw(t, "n"), unit)
}

func drawCron(t *rapid.T) string {
	list := func(label string, items ...*rapid.Generator[string]) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(items...), 1, 3).Draw(t, label), ",")
	}
	number := func(low, high int) *rapid.Generator[string] {
		return rapid.Map(rapid.IntRange(low, high), strconv.Itoa)
	}
	span := func(low, high int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			a := rapid.IntRange(low, high).Draw(t, "from")
			return fmt.Sprintf("%d-%d", a, rapid.IntRange(a, high).Draw(t, "to"))
		})
	}
	every := func(low, high int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			from := rapid.OneOf(rapid.SampledFrom([]string{"", "*"}), number(low, high), span(low, high)).Draw(t, "from")
			return fmt.Sprintf("%s/%d", from, rapid.IntRange(1, high).Draw(t, "by"))
		})
	}
	all := rapid.Just("*")
	weekday := rapid.OneOf(number(1, 7), rapid.SampledFrom(strings.Fields(weekdayNames)))

	minutes := rapid.OneOf(rapid.Just("0"), rapid.Just("0"), number(0, 59), span(0, 59), every(0, 59)).Draw(t, "minutes")
	hours := rapid.OneOf(number(0, 23), rapid.SampledFrom([]string{"/4", "1/5", "2/10", "1/22", "8/8"}), every(0, 23), span(0, 23)).Draw(t, "hours")
	months := list("months", all, all, number(1, 12), rapid.SampledFrom(strings.Fields(monthNames)), span(1, 12), every(1, 12))
	if rapid.Bool().Draw(t, "by weekday") {
		days := list("weekdays", all, weekday, span(1, 7), every(1, 7), rapid.Just("L"),
			rapid.Map(weekday, func(d string) string { return d + "L" }),
			rapid.Custom(func(t *rapid.T) string { return weekday.Draw(t, "day") + "#" + number(1, 5).Draw(t, "n") }))
		return fmt.Sprintf("cron(%s %s ? %s %s *)", minutes, hours, months, days)
	}
	days := list("days", all, number(1, 31), span(1, 31), every(1, 31), rapid.Just("L"))
	return fmt.Sprintf("cron(%s %s %s %s ? *)", minutes, hours, days, months)
}

func drawTime(t *rapid.T, label string) time.Time {
	second := rapid.Int64Range(at("1999-12-01 00:00").Unix(), at("2110-01-01 00:00").Unix()).Draw(t, label)
	return time.Unix(second, rapid.SampledFrom([]int64{0, 0, 1, 999_999_999}).Draw(t, label+" nanoseconds")).UTC()
}

// drawWindow draws a window's length that fits the schedule; 0 is the default.
func drawWindow(t *rapid.T, s Schedule) time.Duration {
	return rapid.OneOf(rapid.Just(time.Duration(0)),
		rapid.Map(rapid.IntRange(1, 24), func(h int) time.Duration { return time.Duration(h) * time.Hour }),
		rapid.Map(rapid.IntRange(1, 120), func(m int) time.Duration { return time.Duration(m) * time.Minute }),
		rapid.Map(rapid.IntRange(1, 120), func(s int) time.Duration { return time.Duration(s) * time.Second })).
		Filter(func(d time.Duration) bool { return s.CheckWindow(d) == nil }).
		Draw(t, "window")
}

// furthest is the longest time that may pass until a schedule opens, see
// ParseSchedule; TestCronFurthestApart shows that the bounds are reached and
// hold for every single day that an expression may name.
func furthest(s Schedule) time.Duration {
	switch {
	case s.kind != cronFields:
		return s.spacing + day
	case s.cron.months == 1<<time.February && (s.cron.nthWeekdays != 0 || s.cron.monthDays != 0):
		return 14609 * day // 40 years
	case s.cron.nthWeekdays != 0 || s.cron.monthDays != 0:
		return 2191 * day // 6 years
	default:
		return 371 * day
	}
}

func TestNextProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, minimum := drawSchedule(t)
		after := drawTime(t, "after")
		next := s.Next(after)
		if !next.After(after) {
			t.Fatalf("opens at %s, not after %s", next, after)
		}
		if next.Sub(after) > furthest(s) {
			t.Fatalf("opens at %s, %s after %s, further than %s", next, next.Sub(after), after, furthest(s))
		}
		if !s.NextFrom(after).Equal(next) || next.Location() != time.UTC {
			t.Fatalf("NextFrom gives %s, Next %s", s.NextFrom(after), next)
		}
		later := after.Add(time.Duration(rapid.Int64Range(0, int64(400*day)).Draw(t, "later")))
		if s.Next(later).Before(next) {
			t.Fatalf("after %s opens at %s, after the later %s at %s", after, next, later, s.Next(later))
		}
		for range 50 {
			following := s.Next(next)
			if following.Sub(next) < minimum {
				t.Fatalf("opens at %s and %s, less than %s apart", next, following, minimum)
			}
			next = following
		}
	})
}

// The calendar arithmetic against a model that reads the expression's text anew
// for each minute and asks whether it matches.
func TestCronMatchesNaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minimum := rapid.SampledFrom([]time.Duration{AWSMinimumInterval, time.Minute}).Draw(t, "minimum")
		expression := rapid.Custom(drawCron).
			Filter(func(e string) bool { _, err := ParseSchedule(e, minimum); return err == nil }).
			Draw(t, "expression")
		s := mustSchedule(t, expression, minimum)
		after := drawTime(t, "after")
		f := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(expression, "cron("), ")"))
		naive := func() (time.Time, bool) {
			today := midnight(after)
			for range 800 {
				if naiveDay(f, today) {
					for m := range 24 * 60 {
						open := today.Add(time.Duration(m) * time.Minute)
						if open.After(after) && naiveIn(f[1], open.Hour(), 0, 23, "") && naiveIn(f[0], open.Minute(), 0, 59, "") {
							return open, true
						}
					}
				}
				today = today.AddDate(0, 0, 1)
			}
			return today, false
		}
		next := s.Next(after)
		want, found := naive()
		if found && !next.Equal(want) || !found && next.Before(want) {
			t.Fatalf("after %s opens at %s, want %s (found: %t)", after, next, want, found)
		}
	})
}

// naiveDay reports whether the day fields f[2:5] match a date.
func naiveDay(f []string, date time.Time) bool {
	if !naiveIn(f[3], int(date.Month()), 1, 12, monthNames) {
		return false
	}
	tomorrow, nextWeek := date.AddDate(0, 0, 1), date.AddDate(0, 0, 7)
	for _, item := range strings.Split(f[2], ",") {
		if item == "L" && tomorrow.Day() == 1 || item != "L" && item != "?" && naiveIn(item, date.Day(), 1, 31, "") {
			return true
		}
	}
	weekday := int(date.Weekday()) + 1
	for _, item := range strings.Split(f[4], ",") {
		name, nth, numbered := strings.Cut(item, "#")
		switch {
		case item == "?":
		case item == "L":
			if weekday == 7 {
				return true
			}
		case numbered:
			if naiveIn(name, weekday, 1, 7, weekdayNames) && strconv.Itoa((date.Day()+6)/7) == nth {
				return true
			}
		case strings.HasSuffix(item, "L"):
			if naiveIn(strings.TrimSuffix(item, "L"), weekday, 1, 7, weekdayNames) && nextWeek.Month() != date.Month() {
				return true
			}
		case naiveIn(item, weekday, 1, 7, weekdayNames):
			return true
		}
	}
	return false
}

// naiveIn reports whether a list of values, ranges and increments has v.
func naiveIn(list string, v, low, high int, names string) bool {
	value := func(text string) int {
		if i := slices.Index(strings.Fields(names), text); i >= 0 {
			return low + i
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			panic(err)
		}
		return n
	}
	for _, item := range strings.Split(list, ",") {
		by, from, to := 1, low, high
		base, step, stepped := strings.Cut(item, "/")
		if stepped {
			by = value(step)
		}
		if a, b, ranged := strings.Cut(base, "-"); ranged {
			from, to = value(a), value(b)
		} else if base != "*" && base != "" {
			from = value(base)
			if !stepped {
				to = from
			}
		}
		if v >= from && v <= to && (v-from)%by == 0 {
			return true
		}
	}
	return false
}

// What the proof at parse time says about the least distance is what a walk
// along the openings finds.
func TestCronApartIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		expression := rapid.Custom(drawCron).
			Filter(func(e string) bool { _, err := ParseSchedule(e, time.Second); return err == nil }).
			Draw(t, "expression")
		s := mustSchedule(t, expression, time.Second)
		least := s.cron.apart(100 * 365 * day) // more than any, so that it is exact
		found := 100 * 365 * day
		// 28 years without a skipped leap year hold every kind of year next to
		// every other; only days that come once in years may be closer in
		// another century.
		for open := s.Next(at("2001-01-01 00:00")); open.Year() < 2030 && found > least; {
			next := s.Next(open)
			found = min(found, next.Sub(open))
			open = next
		}
		if found < least || found > least && least < 300*day {
			t.Fatalf("proved %s apart, found %s", least, found)
		}
	})
}

// The bounds that ParseSchedule states, over the whole 400-year cycle. An
// expression that names several days opens at least as often as each of them
// alone, so that single days in single months are the worst.
func TestCronFurthestApart(t *testing.T) {
	walk := func(expression string) (most int) {
		s, err := ParseSchedule(expression, AWSMinimumInterval)
		if err != nil {
			return 0 // 30 and 31 February and the like
		}
		for open := s.Next(at("2000-01-01 00:00")); open.Year() <= 2400; {
			next := s.Next(open)
			most = max(most, int(next.Sub(open)/day))
			open = next
		}
		return most
	}
	yearly, fifth, leapDay, leapWeekday := 0, 0, 0, 0
	for month := 1; month <= 12; month++ {
		yearly = max(yearly, walk(fmt.Sprintf("cron(0 0 L %d ? *)", month)))
		for d := 1; d <= 31; d++ {
			most := walk(fmt.Sprintf("cron(0 0 %d %d ? *)", d, month))
			if month == 2 && d == 29 {
				leapDay = most
				continue
			}
			yearly = max(yearly, most)
		}
		for weekday := 1; weekday <= 7; weekday++ {
			yearly = max(yearly, walk(fmt.Sprintf("cron(0 0 ? %d %d *)", month, weekday)), walk(fmt.Sprintf("cron(0 0 ? %d %dL *)", month, weekday)))
			for n := 1; n <= 4; n++ {
				yearly = max(yearly, walk(fmt.Sprintf("cron(0 0 ? %d %d#%d *)", month, weekday, n)))
			}
			most := walk(fmt.Sprintf("cron(0 0 ? %d %d#5 *)", month, weekday))
			if month == 2 {
				leapWeekday = max(leapWeekday, most)
			} else {
				fifth = max(fifth, most)
			}
		}
	}
	if yearly != 371 || fifth != 2191 || leapDay != 2921 || leapWeekday != 14609 {
		t.Errorf("days apart at most: %d, fifth weekday %d, 29 February %d, fifth weekday of February %d; want 371, 2191, 2921, 14609",
			yearly, fifth, leapDay, leapWeekday)
	}
	for expression, want := range map[string][2]string{
		"cron(0 0 29 2 ? *)":    {"2096-02-29 00:00", "2104-02-29 00:00"},
		"cron(0 0 ? 2 SUN#5 *)": {"2088-02-29 00:00", "2128-02-29 00:00"},
	} {
		if next := mustSchedule(t, expression, AWSMinimumInterval).Next(at(want[0])); !next.Equal(at(want[1])) {
			t.Errorf("%s after %s: %s, want %s", expression, want[0], next, want[1])
		}
	}
}

func TestWindowProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := drawSchedule(t)
		d := drawWindow(t, s)
		open := s.Next(drawTime(t, "after"))
		w := s.WindowAt(open, d)
		if !w.Open.Equal(open) || !w.Close.After(w.Open) {
			t.Fatalf("%s: the window of %s is %s", s, open, spell(w))
		}
		if next := s.Next(open); w.Close.After(next) {
			t.Fatalf("%s: %s reaches into the next window at %s", s, spell(w), next)
		}
		if !s.short() && !midnight(w.Close.Add(-1)).Equal(midnight(open)) {
			t.Fatalf("%s: %s reaches into the next day", s, spell(w))
		}
		// Wherever in its window a rotation starts, the next window is another.
		if next := s.NextFrom(w.Close.Add(-1)); next.Before(w.Close) {
			t.Fatalf("%s: rotated at the end of %s, the next one opens at %s", s, spell(w), next)
		}
		// Nothing that CheckWindow lets pass is cut, but by midnight for rates
		// in hours.
		if d > 0 && s.kind != rateHours && w.Close.Sub(w.Open) != d {
			t.Fatalf("%s: a window of %s became %s", s, d, spell(w))
		}
	})
}

func TestDueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := drawSchedule(t)
		d := drawWindow(t, s)
		anchor, now := drawTime(t, "anchor"), drawTime(t, "now")
		if rapid.Bool().Draw(t, "soon") {
			now = anchor.Add(time.Duration(rapid.Int64Range(-int64(day), int64(10*day)).Draw(t, "elapsed")))
		}
		catchUp := rapid.Bool().Draw(t, "catch up")
		due := s.Due(anchor, d, now, catchUp)
		if !due.Close.After(now) {
			t.Fatalf("%s: at %s due in %s, which is over", s, now, spell(due))
		}
		zone := time.FixedZone("UTC-9", -9*3600)
		if again := s.Due(anchor.In(zone), d, now.In(zone), catchUp); again != due {
			t.Fatalf("%s: due in %s, then in %s", s, spell(due), spell(again))
		}
		scheduled := s.WindowAt(s.NextFrom(anchor), d)
		switch missed := s.Missed(anchor, d, now); {
		case missed != !now.Before(scheduled.Close):
			t.Fatalf("%s: Missed says %t of %s at %s", s, missed, spell(scheduled), now)
		case !missed:
			if due != scheduled {
				t.Fatalf("%s: due in %s, scheduled in %s", s, spell(due), spell(scheduled))
			}
		case catchUp || s.short():
			if !due.Late || !due.Contains(now) {
				t.Fatalf("%s: at %s due in %s, want a late window that is open", s, now, spell(due))
			}
		default:
			if due.Late || !due.Open.After(scheduled.Open) {
				t.Fatalf("%s: due in %s after missing %s", s, spell(due), spell(scheduled))
			}
			// Made up within a day, in hours that the schedule knows.
			if due.Open.Sub(now) > day {
				t.Fatalf("%s: at %s due only in %s", s, now, spell(due))
			}
			same := due.Open.Sub(midnight(due.Open)) == scheduled.Open.Sub(midnight(scheduled.Open))
			if s.kind == rateDays && !same {
				t.Fatalf("%s: due in %s after missing %s", s, spell(due), spell(scheduled))
			}
			if s.kind == cronFields && !same && !s.Next(due.Open.Add(-1)).Equal(due.Open) {
				t.Fatalf("%s: due in %s after missing %s", s, spell(due), spell(scheduled))
			}
			// What is made up does not move while it is waited for.
			wait := due.Close.Sub(now)
			later := now.Add(time.Duration(rapid.Int64Range(0, int64(wait)-1).Draw(t, "wait")))
			if again := s.Due(anchor, d, later, false); again != due {
				t.Fatalf("%s: at %s due in %s, at %s in %s", s, now, spell(due), later, spell(again))
			}
		}
	})
}
