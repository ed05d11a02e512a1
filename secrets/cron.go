package secrets

import (
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// cron is a parsed cron() expression: one bit per value that matches.
type cron struct {
	minutes uint64 // bits 0-59
	hours   uint32 // bits 0-23
	months  uint16 // bits 1-12

	// A day matches if any of these says so; day-of-month and day-of-week
	// exclude each other.
	monthDays    uint32 // bits 1-31
	lastDay      bool   // L as the day of the month
	weekdays     uint8  // bits 0-6 from Sunday
	lastWeekdays uint8  // SUNL: the last such weekday of the month
	nthWeekdays  uint64 // SUN#2: bit (n-1)*7 + weekday
}

// cronField is what one of the five fields with values takes.
type cronField struct {
	name     string
	min, max int
	names    string // "SUN MON …", the first of them being min; "" = numbers only
	rule     string
	example  string
}

const (
	monthNames   = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
	weekdayNames = "SUN MON TUE WED THU FRI SAT"
)

var (
	minutesField = cronField{"minutes", 0, 59, "", "must be 0-59, with , - * or /", "cron(0/15 * * * ? *)"}
	hoursField   = cronField{"hours", 0, 23, "", "must be 0-23 or an increment such as /8 or 2/10", "cron(0 2/10 * * ? *)"}
	domField     = cronField{"day-of-month", 1, 31, "", "must be 1-31, with , - * / or L", "cron(0 16 1,15 * ? *)"}
	monthField   = cronField{"month", 1, 12, monthNames, "must be 1-12 or JAN-DEC, with , - * or /", "cron(0 1 ? 1/3 SUN#1 *)"}
	dowField     = cronField{"day-of-week", 1, 7, weekdayNames, "must be 1-7 or SUN-SAT (1 is Sunday), with , - * / L or #1-#5", "cron(0 8 ? * MON-FRI *)"}
)

func parseCron(expression, body string, minimum time.Duration) (Schedule, *scheduleError) {
	f := strings.Fields(body)
	if len(f) != 6 {
		return Schedule{}, rule(ErrScheduleExpression, "write cron(0 10 * * ? *) for every day at 10:00 UTC",
			"has %d fields, must have six: minutes hours day-of-month month day-of-week year", len(f))
	}
	var c cron
	if err := c.parseTime(f[0], f[1], minimum); err != nil {
		return Schedule{}, err
	}
	if err := c.parseDays(f[2], f[3], f[4]); err != nil {
		return Schedule{}, err
	}
	if f[5] != "*" {
		return Schedule{}, rule(ErrScheduleExpression, "write cron(0 10 * * ? *)", "year %q: must be *", f[5])
	}
	if !c.possible() {
		return Schedule{}, rule(ErrScheduleExpression, "write cron(0 17 L * ? *) for the last day of each month",
			"day-of-month %q: no such day in month %q, the windows would never open", f[2], f[3])
	}
	if least := c.apart(minimum); least < minimum {
		return Schedule{}, rule(ErrScheduleExpression, tooClose(minimum),
			"minutes %q and hours %q: windows would open %s apart, must be at least %s", f[0], f[1], duration(least), duration(minimum))
	}
	return Schedule{expression: expression, kind: cronFields, cron: c, spacing: c.spacing()}, nil
}

func (c *cron) parseTime(minutes, hours string, minimum time.Duration) *scheduleError {
	aws := minimum >= AWSMinimumInterval
	if aws && strings.Trim(minutes, "0") != "" {
		return rule(ErrScheduleExpression, "write cron(0 10 * * ? *), or lower scheduler.minimum_interval in the configuration file",
			"minutes %q: must be 0, windows open on the hour", minutes)
	}
	if aws && strings.ContainsAny(hours, ",-*") {
		return hoursField.refuse(hours)
	}
	var err *scheduleError
	if c.minutes, err = minutesField.parse(strings.Split(minutes, ",")...); err != nil {
		return err
	}
	set, err := hoursField.parse(strings.Split(hours, ",")...)
	c.hours = uint32(set)
	return err
}

func (c *cron) parseDays(dom, month, dow string) *scheduleError {
	if (dom == "?") == (dow == "?") {
		return rule(ErrScheduleExpression, "write cron(0 10 * * ? *) or cron(0 8 ? * MON-FRI *)",
			"day-of-month %q and day-of-week %q: exactly one of them must be ?", dom, dow)
	}
	set, err := monthField.parse(strings.Split(month, ",")...)
	if err != nil {
		return err
	}
	c.months = uint16(set)
	if dow == "?" {
		plain, last := cutItems(dom, func(item string) bool { return strings.EqualFold(item, "L") })
		c.lastDay = len(last) > 0
		set, err := domField.parse(plain...)
		c.monthDays = uint32(set)
		return err
	}
	plain, special := cutItems(dow, func(item string) bool {
		return strings.Contains(item, "#") || strings.HasSuffix(strings.ToUpper(item), "L")
	})
	for _, item := range special {
		if err := c.specialWeekday(item); err != nil {
			return err
		}
	}
	set, err = dowField.parse(plain...)
	c.weekdays |= uint8(set >> 1)
	return err
}

// specialWeekday adds L, SUNL or SUN#2 to the days that match.
func (c *cron) specialWeekday(item string) *scheduleError {
	if strings.EqualFold(item, "L") {
		c.weekdays |= 1 << time.Saturday
		return nil
	}
	name, nth, hash := strings.Cut(item, "#")
	if !hash {
		name = item[:len(item)-1]
	}
	weekday, ok := dowField.value(name)
	if !ok {
		return dowField.refuse(item)
	}
	weekday--
	if !hash {
		c.lastWeekdays |= 1 << weekday
		return nil
	}
	n, ok := number(nth)
	if !ok || n < 1 || n > 5 {
		return dowField.refuse(item)
	}
	c.nthWeekdays |= 1 << ((n-1)*7 + weekday)
	return nil
}

// cutItems takes those items out of a comma-separated list that special picks.
func cutItems(list string, special func(string) bool) (plain, picked []string) {
	for _, item := range strings.Split(list, ",") {
		if special(item) {
			picked = append(picked, item)
		} else {
			plain = append(plain, item)
		}
	}
	return plain, picked
}

// parse reads values, ranges and increments into a set of bits.
func (f cronField) parse(items ...string) (set uint64, err *scheduleError) {
	for _, item := range items {
		from, step, stepped := strings.Cut(item, "/")
		by := 1
		if stepped {
			var ok bool
			if by, ok = number(step); !ok || by < 1 || by > f.max {
				return 0, f.refuse(item)
			}
		}
		low, high := f.min, f.max
		if from != "*" && (from != "" || !stepped) {
			first, last, ranged := strings.Cut(from, "-")
			var ok bool
			if low, ok = f.value(first); !ok {
				return 0, f.refuse(item)
			}
			if ranged {
				if high, ok = f.value(last); !ok {
					return 0, f.refuse(item)
				}
			} else if !stepped {
				high = low
			}
		}
		if low > high {
			return 0, rule(ErrScheduleExpression, "write the two ends as a list of upward ranges, for example 6-7,1-2",
				"%s %q: a range must run upwards", f.name, item)
		}
		for v := low; v <= high; v += by {
			set |= 1 << v
		}
	}
	return set, nil
}

// value reads one number or name of the field.
func (f cronField) value(text string) (int, bool) {
	if n, ok := number(text); ok {
		return n, n >= f.min && n <= f.max
	}
	i := slices.Index(strings.Fields(f.names), strings.ToUpper(text))
	return f.min + i, i >= 0
}

func (f cronField) refuse(text string) *scheduleError {
	return rule(ErrScheduleExpression, "write for example "+f.example, "%s %q: %s", f.name, text, f.rule)
}

// possible reports whether any date matches. Only days of the month can miss:
// each weekday occurs at least four times in every month, and five times in
// February of some leap years.
func (c cron) possible() bool {
	if c.monthDays == 0 {
		return true
	}
	for m := time.January; m <= time.December; m++ {
		if c.days(2000, m) != 0 { // a leap year
			return true
		}
	}
	return false
}

// days returns the matching days of a month as bits 1-31.
func (c cron) days(year int, month time.Month) uint32 {
	if c.months>>month&1 == 0 {
		return 0
	}
	last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC)
	length := last.Day()
	set := c.monthDays & (1<<(length+1) - 1)
	if c.lastDay {
		set |= 1 << length
	}
	if c.weekdays|c.lastWeekdays == 0 && c.nthWeekdays == 0 {
		return set
	}
	first := (int(last.Weekday()) + 36 - length) % 7 // the weekday of the 1st
	for i := range length {
		weekday := (first + i) % 7
		if c.weekdays>>weekday&1 == 1 ||
			c.lastWeekdays>>weekday&1 == 1 && i >= length-7 ||
			c.nthWeekdays>>(i/7*7+weekday)&1 == 1 {
			set |= 2 << i
		}
	}
	return set
}

// next returns the first matching time strictly after a UTC time. It ends,
// because possible holds for every parsed expression.
func (c cron) next(after time.Time) time.Time {
	year, month, dayOfMonth := after.Date()
	days := c.days(year, month)
	if days>>dayOfMonth&1 == 1 {
		if at, ok := c.timeAfter(after.Hour(), after.Minute()); ok {
			return midnight(after).Add(at)
		}
	}
	days &^= 1<<(dayOfMonth+1) - 1
	for days == 0 {
		if month++; month > time.December {
			year, month = year+1, time.January
		}
		days = c.days(year, month)
	}
	return time.Date(year, month, bits.TrailingZeros32(days), 0, 0, 0, 0, time.UTC).Add(c.first())
}

// timeAfter returns the first time of day that matches after a minute's start.
func (c cron) timeAfter(hour, minute int) (time.Duration, bool) {
	if c.hours>>hour&1 == 1 {
		if later := c.minutes &^ (1<<(minute+1) - 1); later != 0 {
			return timeOfDay(hour, bits.TrailingZeros64(later)), true
		}
	}
	later := c.hours &^ (1<<(hour+1) - 1)
	if later == 0 {
		return 0, false
	}
	return timeOfDay(bits.TrailingZeros32(later), bits.TrailingZeros64(c.minutes)), true
}

// first and last are the times of day of a matching day's outer openings.
func (c cron) first() time.Duration {
	return timeOfDay(bits.TrailingZeros32(c.hours), bits.TrailingZeros64(c.minutes))
}

func (c cron) last() time.Duration {
	return timeOfDay(bits.Len32(c.hours)-1, bits.Len64(c.minutes)-1)
}

func timeOfDay(hour, minute int) time.Duration {
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
}

// spacing is the least time between two openings of one day, 24 hours if it
// has only one.
func (c cron) spacing() time.Duration {
	least := day
	for at := c.first(); at < c.last(); {
		later, _ := c.timeAfter(int(at/time.Hour), int(at%time.Hour/time.Minute))
		least = min(least, later-at)
		at = later
	}
	return least
}

// apart returns the least time between any two successive openings, or a lower
// bound of it that is at least minimum: taking all days to match is enough for
// nearly every expression and costs no walk through the calendar.
func (c cron) apart(minimum time.Duration) time.Duration {
	overnight := c.first() - c.last()
	if bound := min(c.spacing(), day+overnight); bound >= minimum {
		return bound
	}
	between := time.Duration(c.daysApart())*day + overnight
	if overnight == 0 { // one opening a day
		return between
	}
	return min(c.spacing(), between)
}

// daysApart returns the least number of days between two matching days. The
// Gregorian calendar repeats after 400 years, weekdays included, so that a walk
// through these years (and one more, for the seam) is a proof.
func (c cron) daysApart() int {
	least, previous := math.MaxInt32, math.MinInt32
	before := 0 // days from the walk's start to the month's
	for year := 2000; year <= 2400; year++ {
		for month := time.January; month <= time.December; month++ {
			for set := c.days(year, month); set != 0; set &= set - 1 {
				today := before + bits.TrailingZeros32(set)
				if least = min(least, today-previous); least == 1 {
					return 1
				}
				previous = today
			}
			before += time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		}
	}
	return least
}
