package secrets

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseWindow(t *testing.T) {
	const operators = time.Second
	for _, test := range []struct {
		text    string
		minimum time.Duration
		want    time.Duration // 0 with text: an error
	}{
		{"", AWSMinimumInterval, 0},
		{"", operators, 0},
		{"1h", AWSMinimumInterval, time.Hour},
		{"3h", AWSMinimumInterval, 3 * time.Hour},
		{"03h", AWSMinimumInterval, 3 * time.Hour},
		{"24h", AWSMinimumInterval, day},
		{"24h", operators, day},
		{"30m", operators, 30 * time.Minute},
		{"10s", operators, 10 * time.Second},
		{"1h30m", operators, 90 * time.Minute},

		{"0h", AWSMinimumInterval, 0},
		{"0h", operators, 0},
		{"25h", AWSMinimumInterval, 0},
		{"003h", AWSMinimumInterval, 0},
		{"h", AWSMinimumInterval, 0},
		{"3", AWSMinimumInterval, 0},
		{"3h ", AWSMinimumInterval, 0},
		{"-3h", AWSMinimumInterval, 0},
		{"3d", AWSMinimumInterval, 0},
		{"PT3H", AWSMinimumInterval, 0},
		{"30m", AWSMinimumInterval, 0},
		{"1.5h", AWSMinimumInterval, 0},
		{"500ms", operators, 0},
		{"1441m", operators, 0},
		{"-1s", operators, 0},
		{"soon", operators, 0},
	} {
		got, err := ParseWindow(test.text, test.minimum)
		if got != test.want {
			t.Errorf("%q: %s, want %s", test.text, got, test.want)
		}
		if bad := test.want == 0 && test.text != ""; bad != (err != nil) {
			t.Errorf("%q: error %v, want one: %t", test.text, err, bad)
		} else if bad && (!errors.Is(err, ErrWindowLength) || KindOf(err) != Invalid || !strings.Contains(err.Error(), fmt.Sprintf("window %q", test.text)) || !strings.Contains(err.Error(), "3h")) {
			t.Errorf("%q: %v (%v)", test.text, err, KindOf(err))
		}
	}
}

func TestCheckWindow(t *testing.T) {
	for _, test := range []struct {
		expression string
		minimum    time.Duration
		window     time.Duration
		want       error
		text       string
	}{
		{"rate(4 hours)", AWSMinimumInterval, 0, nil, ""},
		{"rate(4 hours)", AWSMinimumInterval, 4 * time.Hour, nil, ""},
		{"rate(4 hours)", AWSMinimumInterval, 5 * time.Hour, ErrWindowExceedsRate, "write 4h or less"},
		{"rate(23 hours)", AWSMinimumInterval, 23 * time.Hour, nil, ""},
		{"rate(1 day)", AWSMinimumInterval, day, nil, ""},
		{"rate(2 days)", AWSMinimumInterval, 25 * time.Hour, ErrWindowLength, "at most 24h"},
		{"rate(2 days)", AWSMinimumInterval, -time.Hour, ErrWindowLength, "positive"},
		{"cron(0 22 * * ? *)", AWSMinimumInterval, 0, nil, ""},
		{"cron(0 22 * * ? *)", AWSMinimumInterval, 2 * time.Hour, nil, ""},
		{"cron(0 22 * * ? *)", AWSMinimumInterval, 3 * time.Hour, ErrWindowExceedsDay, "write 2h or less"},
		{"cron(0 2/10 * * ? *)", AWSMinimumInterval, 2 * time.Hour, nil, ""},
		{"cron(0 2/10 * * ? *)", AWSMinimumInterval, 3 * time.Hour, ErrWindowExceedsDay, "write 2h or less"},
		{"cron(0 2/10 * * ? *)", AWSMinimumInterval, 11 * time.Hour, ErrWindowExceedsRate, "write 10h or less"},
		{"cron(0 /8 * * ? *)", AWSMinimumInterval, 8 * time.Hour, nil, ""},
		{"cron(0 /8 * * ? *)", AWSMinimumInterval, 9 * time.Hour, ErrWindowExceedsRate, "write 8h or less"},
		{"cron(0 0 ? * MON *)", AWSMinimumInterval, day, nil, ""},
		{"cron(0,45 8 * * ? *)", time.Minute, 45 * time.Minute, nil, ""},
		{"cron(0,45 8 * * ? *)", time.Minute, time.Hour, ErrWindowExceedsRate, "write 45m or less"},
		{"cron(30 23 * * ? *)", time.Minute, time.Hour, ErrWindowExceedsDay, "write 30m or less"},
		{"rate(10 seconds)", time.Second, 10 * time.Second, nil, ""},
		{"rate(10 seconds)", time.Second, 11 * time.Second, ErrWindowExceedsRate, "write 10s or less"},
	} {
		err := mustSchedule(t, test.expression, test.minimum).CheckWindow(test.window)
		switch {
		case test.want == nil && err != nil:
			t.Errorf("%s, %s: %v", test.expression, test.window, err)
		case test.want != nil && (!errors.Is(err, test.want) || KindOf(err) != Invalid || !strings.Contains(err.Error(), test.text)):
			t.Errorf("%s, %s: %v, want %q and %q", test.expression, test.window, err, test.want, test.text)
		}
	}
}

func TestWindowAt(t *testing.T) {
	for _, test := range []struct {
		expression string
		open       string
		window     time.Duration
		closes     string
	}{
		{"rate(4 hours)", "2026-01-01 04:00", 0, "2026-01-01 05:00"},
		{"rate(4 hours)", "2026-01-01 04:00", 3 * time.Hour, "2026-01-01 07:00"},
		{"rate(4 hours)", "2026-12-31 22:00", 3 * time.Hour, "2027-01-01 00:00"},
		{"rate(10 days)", "2024-02-29 00:00", 0, "2024-03-01 00:00"},
		{"rate(10 days)", "2024-02-29 00:00", 5 * time.Hour, "2024-02-29 05:00"},
		{"cron(0 /8 * * ? *)", "2026-01-01 16:00", 0, "2026-01-01 17:00"},
		{"cron(0 10 * * ? *)", "2026-01-01 10:00", 0, "2026-01-02 00:00"},
		{"cron(0 10 * * ? *)", "2026-01-01 10:00", 2 * time.Hour, "2026-01-01 12:00"},
		{"cron(0 2/22 * * ? *)", "2026-01-01 02:00", 0, "2026-01-02 00:00"},
		{"cron(*/15 * * * ? *)", "2026-01-01 10:15", 0, "2026-01-01 10:30"},
		{"rate(90 minutes)", "2026-01-01 23:30", 0, "2026-01-02 00:30"},
		{"rate(10 seconds)", "2026-01-01 23:59:55", 0, "2026-01-02 00:00:05"},
		{"rate(10 seconds)", "2026-01-01 23:59:55", 2 * time.Second, "2026-01-01 23:59:57"},
	} {
		w := mustSchedule(t, test.expression, time.Second).WindowAt(at(test.open), test.window)
		if !w.Open.Equal(at(test.open)) || !w.Close.Equal(at(test.closes)) || w.Late {
			t.Errorf("%s at %s for %s: %v, want it to close at %s", test.expression, test.open, test.window, w, test.closes)
		}
		if !w.Contains(w.Open) || w.Contains(w.Close) || !w.Contains(w.Close.Add(-1)) || w.Contains(w.Open.Add(-1)) {
			t.Errorf("%v is not [Open, Close)", w)
		}
	}
}

func TestDue(t *testing.T) {
	for _, test := range []struct {
		name       string
		expression string
		window     time.Duration
		anchor     string
		now        string
		want       string // open - close
		late       string // open - close with catchUp, where that differs
	}{
		{"ahead", "cron(0 2 * * ? *)", 2 * time.Hour, "2026-01-01 03:00", "2026-01-01 12:00",
			"2026-01-02 02:00 - 2026-01-02 04:00", ""},
		{"open", "cron(0 2 * * ? *)", 2 * time.Hour, "2026-01-01 03:00", "2026-01-02 03:59:59",
			"2026-01-02 02:00 - 2026-01-02 04:00", ""},
		{"just missed, daily", "cron(0 2 * * ? *)", 2 * time.Hour, "2026-01-01 03:00", "2026-01-02 04:00",
			"2026-01-03 02:00 - 2026-01-03 04:00", "2026-01-02 02:00 - 2026-01-02 06:00"},
		{"missed, monthly: tomorrow", "cron(0 2 1 * ? *)", 2 * time.Hour, "2026-01-01 03:00", "2026-02-01 09:00",
			"2026-02-02 02:00 - 2026-02-02 04:00", "2026-02-01 02:00 - 2026-02-01 11:00"},
		{"missed, monthly: later today", "cron(0 2 1 * ? *)", 2 * time.Hour, "2026-01-01 03:00", "2026-02-11 01:00",
			"2026-02-11 02:00 - 2026-02-11 04:00", "2026-02-01 02:00 - 2026-02-11 03:00"},
		{"missed, monthly: open today", "cron(0 2 1 * ? *)", 2 * time.Hour, "2026-01-01 03:00", "2026-02-11 03:00",
			"2026-02-11 02:00 - 2026-02-11 04:00", "2026-02-01 02:00 - 2026-02-11 05:00"},
		{"missed, monthly: over the year's end", "cron(0 22 L * ? *)", 0, "2026-11-30 23:00", "2027-01-01 00:00",
			"2027-01-01 22:00 - 2027-01-02 00:00", "2026-12-31 22:00 - 2027-01-02 00:00"},
		{"missed, weekly: the next weekly comes first", "cron(0 18 ? * SAT *)", 0, "2026-01-03 18:30", "2026-01-17 19:00",
			"2026-01-17 18:00 - 2026-01-18 00:00", "2026-01-10 18:00 - 2026-01-18 19:00"},
		{"missed, every 8 hours: the next of the day", "cron(0 /8 * * ? *)", 0, "2026-01-01 00:30", "2026-01-01 09:00",
			"2026-01-01 16:00 - 2026-01-01 17:00", "2026-01-01 08:00 - 2026-01-01 10:00"},
		{"missed, every 8 hours: one is open", "cron(0 /8 * * ? *)", 0, "2026-01-01 00:30", "2026-01-05 16:59",
			"2026-01-05 16:00 - 2026-01-05 17:00", "2026-01-01 08:00 - 2026-01-05 17:59"},
		{"missed, every 8 hours: midnight's is open", "cron(0 /8 * * ? *)", 0, "2026-01-01 00:30", "2026-01-05 00:30",
			"2026-01-05 00:00 - 2026-01-05 01:00", "2026-01-01 08:00 - 2026-01-05 01:30"},
		{"missed, every 8 hours: one has just closed", "cron(0 /8 * * ? *)", 0, "2026-01-01 00:30", "2026-01-05 17:00",
			"2026-01-06 00:00 - 2026-01-06 01:00", "2026-01-01 08:00 - 2026-01-05 18:00"},
		{"missed, late hours: none is open after midnight", "cron(0 22/1 * * ? *)", 0, "2026-01-01 22:30", "2026-01-02 00:00",
			"2026-01-02 22:00 - 2026-01-02 23:00", "2026-01-01 23:00 - 2026-01-02 01:00"},
		{"missed, rate in days", "rate(30 days)", 3 * time.Hour, "2026-02-03 10:00", "2026-03-05 03:00",
			"2026-03-06 00:00 - 2026-03-06 03:00", "2026-03-05 00:00 - 2026-03-05 06:00"},
		{"missed, rate in days, whole day", "rate(30 days)", 0, "2026-02-03 10:00", "2026-03-07 15:00",
			"2026-03-07 00:00 - 2026-03-08 00:00", "2026-03-05 00:00 - 2026-03-08 15:00"},
		{"missed, rate in hours", "rate(4 hours)", 0, "2026-01-01 09:10", "2026-01-01 14:00",
			"2026-01-01 17:00 - 2026-01-01 18:00", "2026-01-01 13:00 - 2026-01-01 15:00"},
		{"missed, rate in hours: one is open", "rate(4 hours)", 3 * time.Hour, "2026-01-01 09:10", "2026-01-02 03:30",
			"2026-01-02 01:00 - 2026-01-02 04:00", "2026-01-01 13:00 - 2026-01-02 06:30"},
		{"missed, rate in hours: the same hours come first", "rate(10 hours)", 0, "2025-12-31 18:00", "2026-01-02 03:30",
			"2026-01-02 04:00 - 2026-01-02 05:00", "2026-01-01 04:00 - 2026-01-02 04:30"},
		{"missed, rate in minutes", "rate(10 minutes)", 0, "2026-01-01 09:10", "2026-01-01 10:00",
			"late 2026-01-01 09:20 - 2026-01-01 10:10", "2026-01-01 09:20 - 2026-01-01 10:10"},
		{"ahead, rate in seconds", "rate(10 seconds)", 0, "2026-01-01 09:10", "2026-01-01 09:10",
			"2026-01-01 09:10:10 - 2026-01-01 09:10:20", ""},
		{"an anchor ahead of the clock", "rate(4 hours)", 0, "2027-01-01 09:10", "2026-01-01 09:10",
			"2027-01-01 13:00 - 2027-01-01 14:00", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := mustSchedule(t, test.expression, time.Second)
			if err := s.CheckWindow(test.window); err != nil {
				t.Fatal(err)
			}
			if got := spell(s.Due(at(test.anchor), test.window, at(test.now), false)); got != test.want {
				t.Errorf("due %s, want %s", got, test.want)
			}
			want := test.want
			if test.late != "" {
				want = "late " + test.late
			}
			if got := spell(s.Due(at(test.anchor), test.window, at(test.now), true)); got != want {
				t.Errorf("with catch-up due %s, want %s", got, want)
			}
			if missed := s.Missed(at(test.anchor), test.window, at(test.now)); missed != (test.late != "") {
				t.Errorf("missed: %t", missed)
			}
		})
	}
}

func spell(w Window) string {
	write := func(t time.Time) string {
		return strings.TrimSuffix(t.Format("2006-01-02 15:04:05"), ":00")
	}
	text := write(w.Open) + " - " + write(w.Close)
	if w.Late {
		text = "late " + text
	}
	return text
}

// A secret that never changed may come with the zero time, more than 292 years
// (the longest Duration) ago.
func TestDueSinceEver(t *testing.T) {
	now := at("2026-05-05 05:30")
	for expression, want := range map[string]string{
		"cron(0 2 1 * ? *)":  "2026-05-06 02:00 - 2026-05-06 03:00",
		"cron(0 /8 * * ? *)": "2026-05-05 08:00 - 2026-05-05 09:00",
		"rate(30 days)":      "2026-05-06 00:00 - 2026-05-06 01:00",
		"rate(12 hours)":     "2026-05-05 12:00 - 2026-05-05 13:00",
	} {
		s := mustSchedule(t, expression, AWSMinimumInterval)
		if got := spell(s.Due(time.Time{}, time.Hour, now, false)); got != want {
			t.Errorf("%s: due %s, want %s", expression, got, want)
		}
		if w := s.Due(time.Time{}, time.Hour, now, true); !w.Late || !w.Contains(now) {
			t.Errorf("%s: with catch-up due %s", expression, spell(w))
		}
	}
}

func TestJitter(t *testing.T) {
	open := at("2026-01-01 02:00")
	window := func(d time.Duration) Window { return Window{Open: open, Close: open.Add(d)} }

	for _, test := range []struct {
		window Window
		limit  time.Duration
		span   time.Duration
	}{
		{window(3 * time.Hour), time.Hour, time.Hour},
		{window(10 * time.Minute), time.Hour, 10 * time.Minute},
		{window(10 * time.Second), time.Second, time.Second},
	} {
		const keys, buckets = 20_000, 50
		counts := make([]int, buckets)
		sum := 0.0
		for i := range keys {
			key := fmt.Sprintf("prod/app-%d", i)
			j := Jitter(key, test.window, test.limit)
			if j < 0 || j >= test.span {
				t.Fatalf("%s is not in [0, %s)", j, test.span)
			}
			if again := Jitter(key, test.window, test.limit); again != j {
				t.Fatalf("%s, then %s for the same key", j, again)
			}
			counts[int(int64(j)*buckets/int64(test.span))]++
			sum += float64(j) / float64(test.span)
		}
		chiSquare(t, test.span.String(), counts)
		if mean := sum / keys; math.Abs(mean-0.5) > 0.01 {
			t.Errorf("mean %.3f of the span, want half", mean)
		}
	}

	late := window(3 * time.Hour)
	late.Late = true
	for name, j := range map[string]time.Duration{
		"late window":      Jitter("a", late, time.Hour),
		"no limit left":    Jitter("a", window(time.Hour), 0),
		"negative limit":   Jitter("a", window(time.Hour), -1),
		"empty window":     Jitter("a", window(0), time.Hour),
		"backwards window": Jitter("a", window(-time.Hour), time.Hour),
		"one nanosecond":   Jitter("a", window(1), time.Hour),
	} {
		if j != 0 {
			t.Errorf("%s: %s, want 0", name, j)
		}
	}
}
