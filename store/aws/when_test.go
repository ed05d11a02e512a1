package aws

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// TestUndated: which dates are asked for, and since when a secret is due.
func TestUndated(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC) // a Wednesday
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	type want int
	const (
		never want = iota
		due
		later
		ask // dates decide now
	)
	for _, tt := range []struct {
		name             string
		schedule, window string
		created, changed time.Time
		rotated          bool // the version that is AWSCURRENT is Pawl's
		dated            time.Time
		want             want
	}{
		{"rate, a new secret", "rate(30 days)", "", ago(2 * day), ago(day), false, time.Time{}, later},
		{"rate, an old one that nobody has touched", "rate(30 days)", "", ago(400 * day), ago(300 * day), true, time.Time{}, due},
		{"rate, an old one that was touched", "rate(30 days)", "", ago(400 * day), ago(day), true, time.Time{}, ask},
		{"… of which the date is known, long ago", "rate(30 days)", "", ago(400 * day), ago(day), true, ago(40 * day), due},
		{"… of which the date is known, lately", "rate(30 days)", "", ago(400 * day), ago(day), true, ago(4 * day), later},
		{"hours, whose windows go by their date", "rate(7 hours)", "", ago(400 * day), ago(300 * day), true, time.Time{}, ask},
		{"hours, both of whose windows are open, others' between not", "rate(4 hours)", "", ago(7*time.Hour + 50*time.Minute), ago(4*time.Hour + 10*time.Minute), true, time.Time{}, ask},
		{"cron, never rotated, its window is open", "cron(0 10 ? * WED *)", "1h", ago(400 * day), ago(day), false, time.Time{}, due},
		{"cron, never rotated, its window was before", "cron(0 8 ? * WED *)", "1h", ago(400 * day), ago(day), false, time.Time{}, later},
		{"cron, never rotated, its window is today", "cron(0 12 ? * WED *)", "1h", ago(400 * day), ago(day), false, time.Time{}, later},
		{"cron, rotated", "cron(0 10 ? * WED *)", "1h", ago(400 * day), ago(day), true, time.Time{}, ask},
		{"cron, rotated since the last window", "cron(0 10 ? * WED *)", "1h", ago(10 * time.Minute), ago(time.Minute), true, time.Time{}, later},
		{"cron, rotated before the window, for certain", "cron(0 10 ? * WED *)", "1h", ago(2 * day), ago(day), true, time.Time{}, due},
		{"nothing scheduled", "", "", ago(400 * day), ago(day), true, time.Time{}, never},
	} {
		r := recordOf("prod/app")
		r.Created, r.Changed = tt.created, tt.changed
		r.Versions[0].Created = tt.dated
		if tt.rotated {
			r.Versions[0].Labels = append(r.Versions[0].Labels, secrets.Intent)
		}
		s := bare(clockwork.NewFakeClockAt(now), Config{Declared: []service.Declaration{{
			Name: "prod/app", Source: "file pawl.yaml:1", Rules: secrets.RotationRules{Schedule: tt.schedule, Window: tt.window},
		}}})
		k := s.reckon(r, now, now)
		got := later
		switch {
		case k.problem != nil:
			t.Errorf("%s: %v", tt.name, k.problem)
		case k.at.IsZero():
			got = never
		case k.undated && !k.at.After(now):
			got = ask
		case !k.at.After(now):
			got = due
		}
		// Jitter puts off what is due within this hour's window; its opening does not.
		if got == later && tt.want == due && !k.undated && k.window.Contains(now) {
			got = due
		}
		if got != tt.want {
			t.Errorf("%s: %d, want %d (at %v, undated: %v)", tt.name, got, tt.want, k.at, k.undated)
		}
	}
}

// TestReckonWithoutDates: whatever the schedule, the dates and the time, a secret
// of which no date is known is due when it would be with all dates known, or its
// dates are asked for; and never before.
func TestReckonWithoutDates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, int64(40*24*time.Hour)).Draw(t, "now")).Truncate(time.Second))
		// Dates before others, mostly soon before.
		before := func(name string, t0, t1 time.Time) time.Time {
			most := rapid.SampledFrom([]time.Duration{5 * time.Hour, 5 * time.Hour, 3 * 24 * time.Hour, 400 * 24 * time.Hour}).Draw(t, name+" within")
			most = min(most, t1.Sub(t0)) / time.Second
			return t1.Add(-time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, name)) * time.Second)
		}
		changed := before("changed", now.AddDate(-1, 0, 0), now)
		created := before("created", changed.AddDate(-1, 0, 0), changed)
		made := before("made", created, changed)

		rules := drawRules(t)
		r := recordOf(rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "secret"))
		r.Created, r.Changed = created, changed
		if rapid.Bool().Draw(t, "rotated") {
			r.Versions[0].Labels = append(r.Versions[0].Labels, secrets.Intent)
		}
		if rapid.Bool().Draw(t, "failing") {
			r.Tags = attemptTags(secrets.Attempt{
				Tries: 1, FailingSince: made, NextTry: now.Add(time.Duration(rapid.IntRange(-3600, 24*3600).Draw(t, "next try")) * time.Second),
			})
		}
		s := bare(clockwork.NewFakeClockAt(now), Config{
			MinimumInterval: time.Second, CatchUp: rapid.Bool().Draw(t, "catch up"),
			Declared: []service.Declaration{{Name: r.ARN.Name, Source: "file pawl.yaml:1", Rules: rules}},
		})
		exact := *r
		exact.Versions = slices.Clone(r.Versions)
		exact.Versions[0].Created = made
		seen := before("first seen", created, now)
		for range 2 {
			guess, truth := s.reckon(r, seen, now), s.reckon(&exact, seen, now)
			if guess.problem != nil || truth.problem != nil || truth.undated {
				t.Fatalf("problems: %v, %v; undated although dated: %v", guess.problem, truth.problem, truth.undated)
			}
			switch is := !truth.at.After(now); {
			case guess.undated && truth.at.Before(guess.at):
				t.Fatalf("%v: asked for the date at %v, due from %v", rules, guess.at, truth.at)
			case guess.undated:
			case is != !guess.at.After(now):
				t.Fatalf("%v at %v: due %v by the bounds %v … %v, %v by the true date %v", rules, now, guess.at, created, changed, truth.at, made)
			}
			// As long as its window lasts, what was worked out holds.
			if !guess.undated && !guess.at.After(now) && !guess.window.Contains(now) {
				t.Fatalf("%v: due at %v in %v, which is not open at %v", rules, guess.at, guess.window, now)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 2*24*3600).Draw(t, "pass")) * time.Second)
		}
	})
}

func drawRules(t *rapid.T) secrets.RotationRules {
	hours := rapid.IntRange(1, 23).Draw(t, "hours")
	rules := secrets.RotationRules{Schedule: rapid.SampledFrom([]string{
		fmt.Sprintf("rate(%d days)", hours), fmt.Sprintf("rate(%d hours)", hours), fmt.Sprintf("rate(%d hours)", 1+hours%4), fmt.Sprintf("rate(%d minutes)", hours*7),
		fmt.Sprintf("cron(0 %d * * ? *)", hours), fmt.Sprintf("cron(0 %d ? * WED *)", hours), fmt.Sprintf("cron(0 %d,23 ? * MON-WED *)", hours-1),
		fmt.Sprintf("cron(0 /%d * * ? *)", max(hours, 2)), fmt.Sprintf("cron(30 %d 1,15 * ? *)", hours), "cron(/20 * * * ? *)", "",
	}).Draw(t, "schedule")}
	if rules.Schedule == "" {
		rules.AfterDays = hours
	}
	window := rapid.SampledFrom([]string{"", "", "1h", "3h", "30m", "24h"}).Draw(t, "window")
	schedule, err := rules.ReadSchedule(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := secrets.ParseWindow(window, time.Second); err == nil && schedule.CheckWindow(d) == nil {
		rules.Window = window
	}
	return rules
}

// TestOpenSince: of a secret that was never rotated, the window that is open when
// it is first seen counts, and none before it; and in it it stays due, be it that
// the process that failed to rotate it is another one by now.
func TestOpenSince(t *testing.T) {
	seen := time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC)
	at := func(h, m int) time.Time { return time.Date(2026, 3, 4, h, m, 0, 0, time.UTC) }
	for _, tt := range []struct {
		schedule, window string
		failing          time.Time
		want             time.Time // when the window opens that counts
	}{
		{"cron(0 10 * * ? *)", "1h", time.Time{}, at(10, 0)},
		{"cron(0 8,10 * * ? *)", "", time.Time{}, at(10, 0)},
		{"cron(0 9 * * ? *)", "1h", time.Time{}, at(9, 0).AddDate(0, 0, 1)},
		{"cron(0 0 * * ? *)", "", time.Time{}, at(0, 0)},
		{"cron(20 * * * ? *)", "1m", time.Time{}, at(10, 20)},
		{"cron(0 9 * * ? *)", "1h", at(9, 30), at(9, 0)}, // missed since, and made up
	} {
		r := recordOf("prod/app")
		rotation := secrets.Rotation{Enabled: true, Rules: secrets.RotationRules{Schedule: tt.schedule, Window: tt.window}}
		if !tt.failing.IsZero() {
			rotation.Attempt = secrets.Attempt{Tries: 1, FailingSince: tt.failing}
		}
		c := Config{MinimumInterval: time.Minute}
		rotation.Since = r.openSince(rotation, seen, c)
		sec := r.supposing(seen, rotation)
		if got := opening(sec, c); !got.Equal(tt.want) {
			t.Errorf("%s %s: counts from %v, so the next window is that of %v, want %v", tt.schedule, tt.window, rotation.Since, got, tt.want)
		}
	}
}
