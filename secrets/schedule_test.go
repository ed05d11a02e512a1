package secrets

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// at reads a UTC time such as "2026-02-03 16:00"; seconds and fractions may
// follow.
func at(text string) time.Time {
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	panic("not a time: " + text)
}

func mustSchedule(t interface {
	Helper()
	Fatal(...any)
}, expression string, minimum time.Duration) Schedule {
	t.Helper()
	s, err := ParseSchedule(expression, minimum)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The first ten cron expressions, and the rates but the last three, are the
// examples of the AWS Secrets Manager User Guide, "Rotation schedules" and its
// table of fields. 2024 and 2028 are leap years; 2026-01-01 is a Thursday.
func TestAWSDocumentedSchedules(t *testing.T) {
	for _, test := range []struct {
		expression string
		after      string
		want       []string // successive openings
	}{
		{"cron(0 /8 * * ? *)", "2026-12-31 07:59:59.5", []string{"2026-12-31 08:00", "2026-12-31 16:00", "2027-01-01 00:00", "2027-01-01 08:00"}},
		{"cron(0 8/8 * * ? *)", "2024-02-28 16:00", []string{"2024-02-29 08:00", "2024-02-29 16:00", "2024-03-01 08:00"}},
		{"cron(0 2/10 * * ? *)", "2026-06-30 00:00", []string{"2026-06-30 02:00", "2026-06-30 12:00", "2026-06-30 22:00", "2026-07-01 02:00", "2026-07-01 12:00"}},
		{"cron(0 4/12 * * ? *)", "2026-06-30 04:00", []string{"2026-06-30 16:00", "2026-07-01 04:00"}},
		{"cron(0 10 * * ? *)", "2026-02-28 10:00", []string{"2026-03-01 10:00", "2026-03-02 10:00"}},
		{"cron(0 10 * * ? *)", "2024-02-28 10:00", []string{"2024-02-29 10:00", "2024-03-01 10:00"}},
		{"cron(0 18 ? * SAT *)", "2026-12-26 18:00", []string{"2027-01-02 18:00", "2027-01-09 18:00"}},
		{"cron(0 8 ? * MON-FRI *)", "2026-01-01 08:00", []string{"2026-01-02 08:00", "2026-01-05 08:00", "2026-01-06 08:00"}},
		{"cron(0 8 1 * ? *)", "2025-12-01 08:00", []string{"2026-01-01 08:00", "2026-02-01 08:00", "2026-03-01 08:00"}},
		{"cron(0 17 L * ? *)", "2024-01-31 17:00", []string{"2024-02-29 17:00", "2024-03-31 17:00", "2024-04-30 17:00"}},
		{"cron(0 17 L * ? *)", "2025-12-31 17:00", []string{"2026-01-31 17:00", "2026-02-28 17:00"}},
		{"cron(0 16 1,15 * ? *)", "2025-12-15 16:00", []string{"2026-01-01 16:00", "2026-01-15 16:00", "2026-02-01 16:00"}},
		{"cron(0 1 ? 1/3 SUN#1 *)", "2026-01-01 00:00", []string{"2026-01-04 01:00", "2026-04-05 01:00", "2026-07-05 01:00", "2026-10-04 01:00", "2027-01-03 01:00"}},
		{"cron(0 0 ? * SUN#1 *)", "2026-01-04 00:00", []string{"2026-02-01 00:00", "2026-03-01 00:00", "2026-04-05 00:00"}},

		{"cron(0 0 1-15 * ? *)", "2026-01-14 12:00", []string{"2026-01-15 00:00", "2026-02-01 00:00"}},
		{"cron(0 0 1/2 * ? *)", "2026-01-29 00:00", []string{"2026-01-31 00:00", "2026-02-01 00:00", "2026-02-03 00:00"}},
		{"cron(0 5 1 JAN,APR,JUL,OCT ? *)", "2026-07-01 05:00", []string{"2026-10-01 05:00", "2027-01-01 05:00"}},
		{"cron(0 5 31 1-3 ? *)", "2026-01-31 05:00", []string{"2026-03-31 05:00", "2027-01-31 05:00"}},
		{"cron(0 5 1 1/3 ? *)", "2026-10-01 05:00", []string{"2027-01-01 05:00"}},
		{"cron(0 6 ? * TUE#3 *)", "2026-01-01 00:00", []string{"2026-01-20 06:00", "2026-02-17 06:00"}},
		{"cron(0 6 ? * 1,4 *)", "2026-01-01 00:00", []string{"2026-01-04 06:00", "2026-01-07 06:00", "2026-01-11 06:00"}},
		{"cron(0 6 ? * 1-4 *)", "2026-01-07 06:00", []string{"2026-01-11 06:00", "2026-01-12 06:00"}},
		{"cron(0 6 ? * 1/2 *)", "2026-01-04 06:00", []string{"2026-01-06 06:00", "2026-01-08 06:00", "2026-01-10 06:00", "2026-01-11 06:00"}},
		{"cron(0 6 ? * L *)", "2026-01-04 06:00", []string{"2026-01-10 06:00", "2026-01-17 06:00"}},
		{"cron(0 6 ? * SUNL *)", "2026-01-01 00:00", []string{"2026-01-25 06:00", "2026-02-22 06:00", "2026-03-29 06:00"}},
		{"cron(0 6 ? * SUNL *)", "2026-05-01 00:00", []string{"2026-05-31 06:00", "2026-06-28 06:00"}}, // May ends on a Sunday
		{"cron(0 6 ? * 1L *)", "2026-01-01 00:00", []string{"2026-01-25 06:00", "2026-02-22 06:00"}},

		{"rate(4 hours)", "2026-12-31 21:45", []string{"2027-01-01 01:00", "2027-01-01 05:00"}},
		{"rate(10 hours)", "2024-02-28 20:00", []string{"2024-02-29 06:00", "2024-02-29 16:00", "2024-03-01 02:00"}},
		{"rate(23 hours)", "2026-01-01 00:59", []string{"2026-01-01 23:00", "2026-01-02 22:00"}},
		{"rate(1 day)", "2024-02-28 23:59:59", []string{"2024-02-29 00:00", "2024-03-01 00:00"}},
		{"rate(10 days)", "2025-12-25 13:00", []string{"2026-01-04 00:00", "2026-01-14 00:00"}},
		{"rate(30 days)", "2026-02-03 12:00", []string{"2026-03-05 00:00"}},
		{"rate(999 days)", "2024-01-01 00:00", []string{"2026-09-26 00:00", "2029-06-21 00:00"}},
	} {
		t.Run(test.expression+" after "+test.after, func(t *testing.T) {
			s := mustSchedule(t, test.expression, AWSMinimumInterval)
			if s.String() != test.expression || s.IsZero() {
				t.Errorf("String is %q, IsZero is %t", s, s.IsZero())
			}
			next := at(test.after)
			for _, want := range test.want {
				next = s.Next(next)
				if !next.Equal(at(want)) || next.Location() != time.UTC {
					t.Fatalf("opens at %s, want %s UTC", next, want)
				}
			}
		})
	}
}

func TestOperatorsSchedules(t *testing.T) {
	for _, test := range []struct {
		expression string
		minimum    time.Duration
		after      string
		want       []string
	}{
		{"rate(1 second)", time.Second, "2026-12-31 23:59:59.25", []string{"2027-01-01 00:00:00.25", "2027-01-01 00:00:01.25"}},
		{"rate(10 seconds)", time.Second, "2026-01-01 00:00", []string{"2026-01-01 00:00:10"}},
		{"rate(1 minute)", time.Minute, "2024-02-29 23:59:30", []string{"2024-03-01 00:00:30"}},
		{"rate(90 minutes)", time.Hour, "2026-01-01 10:10:10", []string{"2026-01-01 11:40:10"}},
		{"rate(1 hour)", time.Hour, "2026-01-01 10:10:10", []string{"2026-01-01 11:00"}},
		{"cron(*/15 * * * ? *)", time.Minute, "2026-12-31 23:40", []string{"2026-12-31 23:45", "2027-01-01 00:00", "2027-01-01 00:15"}},
		{"cron(5,35 8-10 ? * MON *)", 30 * time.Minute, "2026-01-05 09:35", []string{"2026-01-05 10:05", "2026-01-05 10:35", "2026-01-12 08:05"}},
		{"cron(30 1,13 * * ? *)", time.Hour, "2026-01-01 13:30", []string{"2026-01-02 01:30", "2026-01-02 13:30"}},
		{"cron(50-59/3 22/1 L 2 ? *)", time.Minute, "2024-02-29 22:59", []string{"2024-02-29 23:50", "2024-02-29 23:53", "2024-02-29 23:56", "2024-02-29 23:59", "2025-02-28 22:50"}},
	} {
		t.Run(test.expression, func(t *testing.T) {
			s := mustSchedule(t, test.expression, test.minimum)
			next := at(test.after)
			for _, want := range test.want {
				if next = s.Next(next); !next.Equal(at(want)) {
					t.Fatalf("opens at %s, want %s", next, want)
				}
			}
		})
	}
}

// Expressions that mean the same, whatever their spelling.
func TestScheduleSpellings(t *testing.T) {
	for _, pair := range [][2]string{
		{"cron(0 8 ? * MON-FRI *)", "cron(0 8 ? * 2-6 *)"},
		{"cron(0 8 ? * MON-FRI *)", "cron( 00  08 ? * mon,Tue,WED,thu-6 * )"},
		{"cron(0 /8 * * ? *)", "cron(0 0/8 1-31 1-12 ? *)"},
		{"cron(0 /8 * * ? *)", "cron(0 0/8 ? */1 SUN-SAT *)"},
		{"cron(0 8 ? * SAT *)", "cron(0 8 ? * l *)"},
		{"cron(0 8 ? * SUNL,MON#2 *)", "cron(0 8 ? * 2#2,1l *)"},
		{"cron(0 8 l jan ? *)", "cron(0 8 31 1 ? *)"},
		{"cron(0 8 /10 2/5 ? *)", "cron(0 8 1,11,21,31 FEB,JUL,DEC ? *)"},
		{"rate(1 days)", "rate( 1 day )"},
	} {
		a, b := mustSchedule(t, pair[0], AWSMinimumInterval), mustSchedule(t, "  "+pair[1]+"\t", AWSMinimumInterval)
		if b.String() != pair[1] {
			t.Errorf("String is %q, want %q", b, pair[1])
		}
		x, y := at("2024-01-01 00:00"), at("2024-01-01 00:00")
		for range 500 {
			if x, y = a.Next(x), b.Next(y); !x.Equal(y) {
				t.Errorf("%s opens at %s, %s at %s", a, x, b, y)
				break
			}
		}
	}
}

func TestScheduleErrors(t *testing.T) {
	for _, test := range []struct {
		expression string
		minimum    time.Duration
		aws        error
		text       []string // what the message must contain
	}{
		{"", AWSMinimumInterval, ErrScheduleExpression, []string{"must be rate(…) or cron(…)", "rate(30 days)"}},
		{"daily", AWSMinimumInterval, ErrScheduleExpression, []string{`schedule "daily"`}},
		{"rate(4 hours", AWSMinimumInterval, ErrScheduleExpression, []string{"must be rate(…) or cron(…)"}},
		{"Rate(4 hours)", AWSMinimumInterval, ErrScheduleExpression, []string{"must be rate(…) or cron(…)"}},
		{"rate(4 hours) ; x", AWSMinimumInterval, ErrScheduleExpression, []string{"must be rate(…) or cron(…)"}},
		{"cron(0 10 * * ? *" + strings.Repeat(" ", 300) + ")", AWSMinimumInterval, ErrScheduleExpression, []string{"at most 256"}},
		{"cron(0 10 * * ? *))", AWSMinimumInterval, ErrScheduleExpression, []string{`year "*)"`}},

		{"rate()", AWSMinimumInterval, ErrScheduleExpression, []string{"a number and a unit", "rate(4 hours)"}},
		{"rate(4hours)", AWSMinimumInterval, ErrScheduleExpression, []string{`"4hours"`, "a number and a unit"}},
		{"rate(1 2 days)", AWSMinimumInterval, ErrScheduleExpression, []string{"a number and a unit"}},
		{"rate(2 weeks)", AWSMinimumInterval, ErrScheduleExpression, []string{`unit "weeks"`, "hours or days"}},
		{"rate(4 hourss)", AWSMinimumInterval, ErrScheduleExpression, []string{`unit "hourss"`}},
		{"rate(3 hours)", AWSMinimumInterval, ErrScheduleRateHours, []string{`rate "3 hours"`, "3h apart", "at least 4h", "scheduler.minimum_interval"}},
		{"rate(24 hours)", AWSMinimumInterval, ErrScheduleRateHours, []string{`rate "24"`, "from 1 to 23"}},
		{"rate(0 days)", AWSMinimumInterval, ErrScheduleRateDays, []string{`rate "0"`, "from 1 to 999"}},
		{"rate(1000 days)", AWSMinimumInterval, ErrScheduleRateDays, []string{`rate "1000"`, "from 1 to 999"}},
		{"rate(-1 days)", AWSMinimumInterval, ErrScheduleExpression, []string{`rate "-1"`, "whole number"}},
		{"rate(1.5 days)", AWSMinimumInterval, ErrScheduleExpression, []string{`rate "1.5"`, "whole number"}},
		{"rate(99999999999999999999 days)", AWSMinimumInterval, ErrScheduleExpression, []string{"whole number"}},
		{"rate(5 minutes)", AWSMinimumInterval, ErrScheduleExpression, []string{`unit "minutes"`, "4h apart", "scheduler.minimum_interval"}},
		{"rate(59 seconds)", time.Minute, ErrScheduleExpression, []string{"59s apart", "at least 1m"}},
		{"rate(1440 minutes)", time.Minute, ErrScheduleExpression, []string{"from 1 to 1439"}},
		{"rate(1 day)", 48 * time.Hour, ErrScheduleRateDays, []string{"24h apart", "at least 48h"}},

		{"cron()", AWSMinimumInterval, ErrScheduleExpression, []string{"0 fields", "six"}},
		{"cron(0 10 * * ?)", AWSMinimumInterval, ErrScheduleExpression, []string{"5 fields", "six"}},
		{"cron(0 0 10 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"7 fields", "six"}},
		{"cron(5 10 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`minutes "5"`, "must be 0", "cron(0 10 * * ? *)"}},
		{"cron(* 10 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`minutes "*"`, "must be 0"}},
		{"cron(60 10 * * ? *)", time.Minute, ErrScheduleExpression, []string{`minutes "60"`, "0-59"}},
		{"cron(*/7 * * * ? *)", 5 * time.Minute, ErrScheduleExpression, []string{"4m apart", "at least 5m"}},
		{"cron(0 24 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "24"`, "0-23", "cron(0 2/10 * * ? *)"}},
		{"cron(0 * * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "*"`}},
		{"cron(0 */8 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "*/8"`, "/8"}},
		{"cron(0 8,16 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "8,16"`}},
		{"cron(0 8-16 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "8-16"`}},
		{"cron(0 8/0 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "8/0"`}},
		{"cron(0 / * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "/"`}},
		{"cron(0 ? * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "?"`}},
		{"cron(0 2/3 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "2/3"`, "3h apart", "at least 4h"}},
		{"cron(0 /7 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`hours "/7"`, "3h apart"}}, // 21:00 to midnight
		{"cron(0 1/22 * * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"2h apart"}},
		{"cron(0 1/22 L,1 * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"2h apart"}},
		{"cron(0 1/22 L,1 2-3 ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"2h apart"}},
		{"cron(0 1/22 ? * SUN,SAT *)", AWSMinimumInterval, ErrScheduleExpression, []string{"2h apart"}},
		{"cron(0 1/22 1,29 2-3 ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"2h apart"}},        // in leap years only
		{"cron(0 1/22 ? 2-3 SUN#5,MON#1 *)", AWSMinimumInterval, ErrScheduleExpression, []string{"2h apart"}}, // in 2032 and every 28 years
		{"cron(0 10 ? * SUN *)", 8 * 24 * time.Hour, ErrScheduleExpression, []string{"168h apart", "at least 192h"}},
		{"cron(0 10 32 * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "32"`, "1-31"}},
		{"cron(0 10 0 * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "0"`}},
		{"cron(0 10 15W * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "15W"`}},
		{"cron(0 10 L-2 * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "L-2"`}},
		{"cron(0 10 SUNL * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "SUNL"`}},
		{"cron(0 10 L, * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month ""`}},
		{"cron(0 10 20-10 * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "20-10"`, "upwards"}},
		{"cron(0 10 ?,1 * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "?"`}},
		{"cron(0 10 * 13 ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`month "13"`, "JAN-DEC"}},
		{"cron(0 10 * JANUARY ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`month "JANUARY"`}},
		{"cron(0 10 * ? ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`month "?"`}},
		{"cron(0 10 1 ? * *)", AWSMinimumInterval, ErrScheduleExpression, []string{`exactly one of them must be ?`}},
		{"cron(0 10 ? ? MON *)", AWSMinimumInterval, ErrScheduleExpression, []string{`month "?"`}},
		{"cron(0 10 * * * *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "*" and day-of-week "*"`, "exactly one", "cron(0 10 * * ? *)"}},
		{"cron(0 10 ? * ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"exactly one"}},
		{"cron(0 10 ? * 0 *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-week "0"`, "1 is Sunday"}},
		{"cron(0 10 ? * 8 *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-week "8"`}},
		{"cron(0 10 ? * FRI-SUN *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-week "FRI-SUN"`, "upwards", "6-7,1-2"}},
		{"cron(0 10 ? * SUN#6 *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-week "SUN#6"`, "#1-#5"}},
		{"cron(0 10 ? * SUN#0 *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-week "SUN#0"`}},
		{"cron(0 10 ? * #1 *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-week "#1"`}},
		{"cron(0 10 ? * 8L *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-week "8L"`}},
		{"cron(0 10 * * ? 2026)", AWSMinimumInterval, ErrScheduleExpression, []string{`year "2026"`, "must be *"}},
		{"cron(0 10 30 2 ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{`day-of-month "30"`, `month "2"`, "never open"}},
		{"cron(0 10 30,31 FEB ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"never open"}},
		{"cron(0 10 31 2,4,6,9,11 ? *)", AWSMinimumInterval, ErrScheduleExpression, []string{"never open"}},
	} {
		t.Run(test.expression, func(t *testing.T) {
			s, err := ParseSchedule(test.expression, test.minimum)
			if err == nil {
				t.Fatal("accepted")
			}
			if !s.IsZero() {
				t.Error("a schedule beside the error")
			}
			if !errors.Is(err, test.aws) || KindOf(err) != Invalid {
				t.Errorf("%v: kind %v, want invalid and to be %q", err, KindOf(err), test.aws)
			}
			for _, want := range test.text {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message lacks %q: %v", want, err)
				}
			}
			if len(err.Error()) > 400 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

// Times of day that would be too close overnight are right where no two
// successive days ever match.
func TestScheduleApartOvernight(t *testing.T) {
	for _, expression := range []string{
		"cron(0 1/22 ? * MON *)",
		"cron(0 1/22 ? * SUN,TUE,THU *)", // Thursday to Sunday, and no Saturday
		"cron(0 1/22 2-31/2 * ? *)",      // 30th to 2nd, in every month
		"cron(0 1/22 L,1 6,8,10 ? *)",    // no first of a month after a last
		"cron(0 1/22 ? * SUN#1,MONL *)",
		"cron(0 1/22 1,29 3 ? *)",
	} {
		if _, err := ParseSchedule(expression, AWSMinimumInterval); err != nil {
			t.Error(err)
		}
	}
	// 31st, then the 1st.
	if _, err := ParseSchedule("cron(0 1/22 1/2 * ? *)", AWSMinimumInterval); err == nil {
		t.Error("23:00 on the 31st and 01:00 on the 1st were accepted")
	}
}

func TestEveryDays(t *testing.T) {
	for _, n := range []int{-1, 0, 1001} {
		if s, err := EveryDays(n); err == nil || KindOf(err) != Invalid || !s.IsZero() {
			t.Errorf("EveryDays(%d): %v, want an invalid error", n, err)
		}
	}
	for _, test := range []struct {
		days             int
		changed, expires string
	}{
		// The second is an answer of AWS's own.
		{1, "2023-12-31 23:59", "2024-01-01 23:59:59"},
		{30, "2026-02-03 09:30", "2026-03-05 23:59:59"},
		{365, "2023-03-01 00:00", "2024-02-29 23:59:59"},
		{1000, "2024-01-01 12:00", "2026-09-27 23:59:59"},
	} {
		s, err := EveryDays(test.days)
		if err != nil {
			t.Fatal(err)
		}
		window := s.WindowAt(s.NextFrom(at(test.changed)), 0)
		if got := window.NextRotationDate(); !got.Equal(at(test.expires)) {
			t.Errorf("%d days after %s: %s, want %s", test.days, test.changed, got, test.expires)
		}
		if s.AutomaticallyAfterDays(at(test.changed)) != test.days {
			t.Errorf("%s: AutomaticallyAfterDays %d", s, s.AutomaticallyAfterDays(at(test.changed)))
		}
	}
	one, _ := EveryDays(1)
	if one != mustSchedule(t, "rate(1 day)", AWSMinimumInterval) {
		t.Errorf("EveryDays(1) is not rate(1 day) but %s", one)
	}
}

func TestAutomaticallyAfterDays(t *testing.T) {
	for _, test := range []struct {
		expression string
		last       string
		want       int
	}{
		{"rate(10 hours)", "2026-01-01 10:00", 1},
		{"rate(23 hours)", "2026-01-01 10:00", 1},
		{"rate(1 day)", "2026-01-01 10:00", 1},
		{"rate(999 days)", "2026-01-01 10:00", 999},
		{"cron(0 /8 * * ? *)", "2026-01-01 08:10", 1},
		{"cron(0 10 * * ? *)", "2026-01-01 08:10", 1},
		{"cron(0 10 * * ? *)", "2026-01-01 12:10", 1},
		{"cron(0 18 ? * SAT *)", "2026-01-03 20:00", 7},
		{"cron(0 8 1 * ? *)", "2024-02-01 09:00", 29},
		{"cron(0 8 1 * ? *)", "2026-02-01 09:00", 28},
		{"cron(0 16 1,15 * ? *)", "2026-01-15 16:30", 17},
	} {
		if got := mustSchedule(t, test.expression, AWSMinimumInterval).AutomaticallyAfterDays(at(test.last)); got != test.want {
			t.Errorf("%s after %s: %d, want %d", test.expression, test.last, got, test.want)
		}
	}
}

func TestZeroSchedule(t *testing.T) {
	var s Schedule
	now := at("2026-01-01 00:00")
	if !s.IsZero() || s.String() != "" || s.AutomaticallyAfterDays(now) != 0 || s.CheckWindow(time.Hour) != nil {
		t.Error("the zero Schedule is not what it promises")
	}
	if next := s.Next(now); next.Before(now.AddDate(1000, 0, 0)) {
		t.Errorf("opens at %s", next)
	}
	if w := s.Due(now, 0, now, true); !w.Close.After(now) || w.Contains(now) || w.Late {
		t.Errorf("due in %v", w)
	}
	if _, err := s.Next(now).MarshalJSON(); err != nil {
		t.Error(err)
	}
}

// Times of other zones are the same instants.
func TestScheduleIsUTC(t *testing.T) {
	zone := time.FixedZone("UTC+13", 13*3600)
	local := time.Date(2026, time.January, 2, 1, 30, 0, 0, zone) // 2026-01-01 12:30 UTC
	for expression, want := range map[string]string{
		"cron(0 13 1 * ? *)": "2026-01-01 13:00",
		"rate(1 day)":        "2026-01-02 00:00",
		"rate(4 hours)":      "2026-01-01 16:00",
	} {
		s := mustSchedule(t, expression, AWSMinimumInterval)
		if got := s.Next(local); !got.Equal(at(want)) || got.Location() != time.UTC {
			t.Errorf("%s: %s, want %s UTC", expression, got, want)
		}
	}
}
