package service

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

// planned is a secret with one current version and a rotation.
func planned(schedule, window, changed string) *Secret {
	return &Secret{
		ARN:          secrets.ARN{Partition: "aws", Region: "r", Account: "1", Name: "s", Suffix: "AbCdEf"},
		Versions:     secrets.Versions{{ID: "v1", Labels: []string{secrets.Current}}},
		ValueChanged: at(changed),
		Rotation: &secrets.Rotation{
			Enabled: true, Since: at(changed),
			Rules: secrets.RotationRules{Schedule: schedule, Window: window},
		},
	}
}

func TestDueAt(t *testing.T) {
	const daily, monthly = "cron(0 2 * * ? *)", "rate(30 days)"
	unfinished := func(s *Secret) { s.Versions[0].Labels = append(s.Versions[0].Labels, secrets.Pending) }
	for _, c := range []struct {
		name          string
		schedule      string
		window        string
		changed       string
		now           string
		catchUp       bool
		change        func(*Secret)
		open          string // "" = no window
		close         string
		at            string // "" = within an hour after open
		never, failed bool
	}{
		{name: "no rotation", change: func(s *Secret) { s.Rotation = nil }, never: true},
		{name: "no rotation, unfinished", change: func(s *Secret) { unfinished(s); s.Rotation = nil }, never: true},
		{name: "on demand", never: true},
		{name: "paused", schedule: daily, change: func(s *Secret) { s.Rotation.Paused = true }, never: true},
		{name: "paused, unfinished", schedule: daily, change: func(s *Secret) { unfinished(s); s.Rotation.Paused = true }, never: true},
		{name: "deleted", schedule: daily, change: func(s *Secret) { s.Deleted = at("2026-03-01 00:00") }, never: true},
		{name: "deleted, unfinished", schedule: daily, change: func(s *Secret) { unfinished(s); s.Deleted = at("2026-03-01 00:00") }, never: true},
		{name: "turned off", schedule: daily, change: func(s *Secret) { s.Rotation.Enabled = false }, never: true},
		{name: "turned off, unfinished", schedule: daily, change: func(s *Secret) { unfinished(s); s.Rotation.Enabled = false }, now: "2026-03-04 10:00", at: "2026-03-04 10:00"},
		{name: "unfinished, schedule broken", schedule: "nonsense", change: unfinished, now: "2026-03-04 10:00", at: "2026-03-04 10:00"},
		{name: "unfinished, tried before", schedule: daily, change: func(s *Secret) { unfinished(s); s.Rotation.Attempt.NextTry = at("2026-03-04 10:05") }, now: "2026-03-04 10:00", at: "2026-03-04 10:05"},
		{name: "unfinished, next try is over", schedule: daily, change: func(s *Secret) { unfinished(s); s.Rotation.Attempt.NextTry = at("2026-03-04 09:55") }, now: "2026-03-04 10:00", at: "2026-03-04 09:55"},
		{name: "schedule broken", schedule: "cron(0 2 * * ?)", never: true, failed: true},
		{name: "window broken", schedule: daily, window: "1d", never: true, failed: true},
		{name: "schedule too fast", schedule: "rate(1 minute)", never: true, failed: true},
		{name: "no value", schedule: daily, change: func(s *Secret) { s.Versions = nil }, never: true, failed: true},

		{name: "daily", schedule: daily, window: "3h", now: "2026-03-04 10:00", open: "2026-03-05 02:00", close: "2026-03-05 05:00"},
		{name: "daily, open now", schedule: daily, window: "3h", now: "2026-03-05 03:00", open: "2026-03-05 02:00", close: "2026-03-05 05:00"},
		{name: "daily, missed", schedule: daily, window: "3h", now: "2026-03-05 05:00", open: "2026-03-06 02:00", close: "2026-03-06 05:00"},
		{name: "daily, missed, caught up", schedule: daily, window: "3h", now: "2026-03-05 05:00", catchUp: true, open: "2026-03-05 02:00", close: "2026-03-05 08:00", at: "2026-03-05 02:00"},
		{name: "monthly counts from the value", schedule: monthly, now: "2026-03-04 11:00", open: "2026-04-03 00:00", close: "2026-04-04 00:00"},
		{name: "monthly, value put later", schedule: monthly, now: "2026-03-04 11:00", change: func(s *Secret) { s.ValueChanged = at("2026-03-10 07:00") }, open: "2026-04-09 00:00", close: "2026-04-10 00:00"},
		{name: "monthly minds no rotation date", schedule: monthly, now: "2026-03-04 11:00", change: func(s *Secret) { s.Rotation.LastRotated = at("2026-03-20 07:00") }, open: "2026-04-03 00:00", close: "2026-04-04 00:00"},
		{name: "cron minds no value", schedule: daily, now: "2026-03-04 11:00", change: func(s *Secret) { s.ValueChanged = at("2026-03-10 07:00") }, open: "2026-03-05 02:00", close: "2026-03-06 00:00"},
		{name: "cron counts from the last rotation", schedule: daily, now: "2026-03-05 03:00", change: func(s *Secret) { s.Rotation.LastRotated = at("2026-03-05 02:30") }, open: "2026-03-06 02:00", close: "2026-03-07 00:00"},
		{name: "cron counts from its declaration", schedule: daily, now: "2026-03-09 12:00", change: func(s *Secret) {
			s.Rotation.LastRotated, s.Rotation.Since = at("2026-01-01 00:00"), at("2026-03-09 12:00")
		}, open: "2026-03-10 02:00", close: "2026-03-11 00:00"},

		{name: "after days", now: "2026-03-04 11:00", change: func(s *Secret) { s.Rotation.Rules.AfterDays = 30 }, open: "2026-04-03 00:00", close: "2026-04-04 00:00"},
		{name: "after a thousand days", window: "2h", now: "2026-03-04 11:00", change: func(s *Secret) { s.Rotation.Rules.AfterDays = 1000 }, open: "2028-11-28 00:00", close: "2028-11-28 02:00"},
		{name: "after days, value put later", now: "2026-03-04 11:00", change: func(s *Secret) { s.Rotation.Rules.AfterDays, s.ValueChanged = 30, at("2026-03-10 07:00") }, open: "2026-04-09 00:00", close: "2026-04-10 00:00"},
		{name: "after days, missed", window: "2h", now: "2026-04-03 02:00", change: func(s *Secret) { s.Rotation.Rules.AfterDays = 30 }, open: "2026-04-04 00:00", close: "2026-04-04 02:00"},
		{name: "after days that can't be", change: func(s *Secret) { s.Rotation.Rules.AfterDays = 1001 }, never: true, failed: true},
		{name: "a replica", schedule: daily, change: func(s *Secret) { s.PrimaryRegion = "r2" }, never: true},
		{name: "a replica, unfinished", schedule: daily, change: func(s *Secret) { unfinished(s); s.PrimaryRegion = "r2" }, never: true},
		{name: "paused, unfinished, asked for", schedule: daily, change: func(s *Secret) { unfinished(s); s.Rotation.Paused, s.Rotation.Asked = true, "v1" }, now: "2026-03-04 10:00", at: "2026-03-04 10:00"},
		{name: "paused, unfinished, another asked for", schedule: daily, change: func(s *Secret) { unfinished(s); s.Rotation.Paused, s.Rotation.Asked = true, "v2" }, never: true},
		{name: "paused, to be settled, asked for", schedule: daily, change: func(s *Secret) {
			s.Versions = append(s.Versions, secrets.Version{ID: "v2", Labels: []string{secrets.Intent}})
			s.Rotation.Paused, s.Rotation.Asked = true, "v2"
		}, now: "2026-03-04 10:00", at: "2026-03-04 10:00"},
		{name: "paused, at rest, asked for", schedule: daily, change: func(s *Secret) { s.Rotation.Paused, s.Rotation.Asked = true, "v1" }, never: true},

		{name: "a next try before the window", schedule: daily, window: "3h", now: "2026-03-04 10:00", change: func(s *Secret) { s.Rotation.Attempt.NextTry = at("2026-03-04 23:00") }, open: "2026-03-05 02:00", close: "2026-03-05 05:00"},
		{name: "a next try in the window", schedule: daily, window: "3h", now: "2026-03-05 02:10", change: func(s *Secret) { s.Rotation.Attempt.NextTry = at("2026-03-05 04:30") }, open: "2026-03-05 02:00", close: "2026-03-05 05:00", at: "2026-03-05 04:30"},
		{name: "a next try past the window", schedule: daily, window: "3h", now: "2026-03-05 04:50", change: func(s *Secret) { s.Rotation.Attempt.NextTry = at("2026-03-05 05:00") }, open: "2026-03-06 02:00", close: "2026-03-06 05:00"},
		{name: "a next try past the window, caught up", schedule: daily, window: "3h", now: "2026-03-05 04:50", catchUp: true, change: func(s *Secret) { s.Rotation.Attempt.NextTry = at("2026-03-05 05:10") }, open: "2026-03-05 02:00", close: "2026-03-05 08:10", at: "2026-03-05 05:10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.changed == "" {
				c.changed = "2026-03-04 10:00"
			}
			if c.now == "" {
				c.now = "2026-03-05 12:00"
			}
			s := planned(c.schedule, c.window, c.changed)
			if c.change != nil {
				c.change(s)
			}
			got, w, err := DueAt(s, at(c.now), secrets.AWSMinimumInterval, c.catchUp)
			if (err != nil) != c.failed || err != nil && secrets.KindOf(err) != secrets.Invalid {
				t.Errorf("error %v", err)
			}
			if got.IsZero() != c.never {
				t.Fatalf("due at %v", got)
			}
			if c.open == "" {
				if w != (secrets.Window{}) || c.at != "" && !got.Equal(at(c.at)) {
					t.Errorf("due at %v in %v", got, w)
				}
				return
			}
			if !w.Open.Equal(at(c.open)) || !w.Close.Equal(at(c.close)) {
				t.Errorf("window %v to %v", w.Open, w.Close)
			}
			if c.at != "" && !got.Equal(at(c.at)) || c.at == "" && (got.Before(w.Open) || !got.Before(w.Open.Add(time.Hour))) {
				t.Errorf("due at %v", got)
			}
		})
	}
}

func TestExpression(t *testing.T) {
	for want, r := range map[string]secrets.RotationRules{
		"": {}, "rate(1 day)": {AfterDays: 1}, "rate(1000 days)": {AfterDays: 1000}, "cron(0 2 * * ? *)": {Schedule: "cron(0 2 * * ? *)"},
	} {
		if got := r.Expression(); got != want || r.Scheduled() != (want != "") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNextRotationDate(t *testing.T) {
	for _, c := range []struct {
		name             string
		schedule, window string
		days             int
		now              string
		change           func(*Secret)
		want             string // "" = none
	}{
		// The date that AWS gave for 30 days after a change on 3 February.
		{name: "days", days: 30, want: "2026-03-05 23:59"},
		{name: "days with a window", days: 30, window: "2h", want: "2026-03-05 01:59"},
		{name: "a manual change counts", days: 30, change: func(s *Secret) { s.ValueChanged = at("2026-02-20 08:00") }, want: "2026-03-22 23:59"},
		{name: "hours", schedule: "rate(10 hours)", now: "2026-02-03 11:00", want: "2026-02-03 20:59"},
		{name: "cron", schedule: "cron(0 17 L * ? *)", want: "2026-02-28 23:59"},
		{name: "missed", days: 30, now: "2026-03-20 12:00", want: "2026-03-20 23:59"},
		{name: "failing", days: 30, now: "2026-03-20 12:00", change: func(s *Secret) { s.Rotation.Attempt.Tries = 1 }, want: "2026-03-05 23:59"},
		{name: "under way", days: 30, change: func(s *Secret) { s.Versions[0].Labels = append(s.Versions[0].Labels, secrets.Pending) }, want: "2026-03-05 23:59"},
		{name: "no schedule"},
		{name: "broken", schedule: "cron(", window: "2h"},
		{name: "off", days: 30, change: func(s *Secret) { s.Rotation.Enabled = false }},
		{name: "paused", days: 30, change: func(s *Secret) { s.Rotation.Paused = true }},
		{name: "deleted", days: 30, change: func(s *Secret) { s.Deleted = at("2026-02-04 00:00") }},
		{name: "no value", days: 30, change: func(s *Secret) { s.Versions = nil }},
		{name: "never configured", days: 30, change: func(s *Secret) { s.Rotation = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := planned(c.schedule, c.window, "2026-02-03 10:20")
			s.Rotation.Rules.AfterDays = c.days
			if c.change != nil {
				c.change(s)
			}
			if c.now == "" {
				c.now = "2026-02-04 12:00"
			}
			got := New(Config{}).nextRotationDate(s, at(c.now))
			want := time.Time{}
			if c.want != "" {
				want = at(c.want).Add(59 * time.Second)
			}
			if !got.Equal(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// Whatever is stored: no panic, and what comes out is a time within its window,
// not before the next try, the same at whatever time it is worked out.
func TestDueAtHolds(t *testing.T) {
	schedules := []string{"rate(4 hours)", "rate(23 hours)", "rate(1 day)", "rate(999 days)", "cron(0 2 * * ? *)", "cron(0 /8 * * ? *)", "cron(0 17 L * ? *)", "cron(0 0 29 2 ? *)", "cron(0 1 ? 1/3 SUN#1 *)", "rate(10 seconds)", "rate(5 minutes)", "", "rate(0 days)", "cron(", "💥"}
	base := at("2026-01-01 00:00")
	rapid.Check(t, func(t *rapid.T) {
		moment := func(label string) time.Time {
			if rapid.IntRange(0, 9).Draw(t, label+" zero") == 0 {
				return time.Time{}
			}
			return base.Add(time.Duration(rapid.Int64Range(0, int64(800*24*time.Hour/time.Second)).Draw(t, label)) * time.Second)
		}
		s := planned(rapid.SampledFrom(schedules).Draw(t, "schedule"), rapid.SampledFrom([]string{"", "1h", "3h", "24h", "x"}).Draw(t, "window"), "2026-01-01 00:00")
		s.ARN.Name = rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
		s.ValueChanged, s.Rotation.Since, s.Rotation.LastRotated, s.Rotation.Attempt.NextTry = moment("changed"), moment("since"), moment("rotated"), moment("next try")
		s.Rotation.Enabled = rapid.IntRange(0, 5).Draw(t, "off") > 0
		if rapid.IntRange(0, 5).Draw(t, "unfinished") == 0 {
			s.Versions = append(s.Versions, secrets.Version{ID: "v2", Labels: []string{secrets.Intent}})
		}
		now := moment("now")
		if now.IsZero() {
			now = base
		}
		minimum := rapid.SampledFrom([]time.Duration{secrets.AWSMinimumInterval, time.Second}).Draw(t, "minimum")
		catchUp := rapid.Bool().Draw(t, "catch up")
		got, w, err := DueAt(s, now, minimum, catchUp)
		next := s.Rotation.Attempt.NextTry
		switch {
		case err != nil && !got.IsZero():
			t.Fatalf("%v and %v", got, err)
		case got.IsZero() && err == nil && s.Rotation.Enabled && s.Rotation.Rules.Schedule != "":
			t.Fatal("never due, without a reason")
		case got.IsZero():
			return
		case got.Before(next):
			t.Fatalf("due at %v, before the next try at %v", got, next)
		case s.Versions.Unfinished():
			if w != (secrets.Window{}) || !got.Equal(now) && !got.Equal(next) {
				t.Fatalf("unfinished, due at %v in %v", got, w)
			}
			return
		case !w.Contains(got) || !w.Close.After(now):
			t.Fatalf("due at %v in %v to %v, seen at %v", got, w.Open, w.Close, now)
		}
		// At its time it is still due then: what the scheduler finds, it may run.
		later := now
		if got.After(later) {
			later = got
		}
		again, w2, err := DueAt(s, later, minimum, catchUp)
		if err != nil || again.After(later) || !w2.Contains(later) {
			t.Fatalf("planned for %v in %v to %v, but at %v it is due at %v in %v to %v: %v", got, w.Open, w.Close, later, again, w2.Open, w2.Close, err)
		}
	})
}

// Ten thousand secrets of one schedule are spread over the hour.
func TestDueAtSpreads(t *testing.T) {
	perMinute := make([]int, 60)
	s := planned("cron(0 2 * * ? *)", "", "2026-03-04 10:00")
	for i := range 6000 {
		s.ARN.Name = fmt.Sprint("s", i)
		got, w, err := DueAt(s, at("2026-03-04 12:00"), secrets.AWSMinimumInterval, false)
		if err != nil {
			t.Fatal(err)
		}
		perMinute[int(got.Sub(w.Open)/time.Minute)]++
	}
	for m, n := range perMinute {
		if n < 50 || n > 160 {
			t.Errorf("%d in minute %d, about 100 expected", n, m)
		}
	}
}
