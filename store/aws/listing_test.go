package aws

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func discover(c *Config) {
	c.Discover, c.Defaults = true, secrets.RotationRules{Strategy: secrets.SingleUser}
}

// declare has the file name secrets, with one schedule.
func declare(schedule string, names ...string) func(*Config) {
	return func(c *Config) {
		for i, n := range names {
			c.Declared = append(c.Declared, service.Declaration{
				Name: n, Source: fmt.Sprintf("file pawl.yaml:%d", i+1),
				Rules: secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: schedule},
			})
		}
	}
}

// settle waits until nobody asks AWS on the listing's behalf.
func settle(t testing.TB, s *Store) {
	t.Helper()
	if err := s.occupy(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.vacate()
}

// due are the names of the secrets that are due now, when all is asked that has
// to be.
func due(t testing.TB, s *Store) []string {
	t.Helper()
	for range 2 { // what is renewed, and what that asks for
		if _, err := s.Due(context.Background(), s.now(), service.DueAfter{}, 1000); err != nil {
			t.Fatal(err)
		}
		settle(t, s)
	}
	ds, err := s.Due(context.Background(), s.now(), service.DueAfter{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range ds {
		if d.At.After(s.now()) || !d.Unfinished && !d.Window.Contains(s.now()) {
			t.Errorf("%s is offered at %v for %v in %v", d.ARN.Name, s.now(), d.At, d.Window)
		}
		names = append(names, d.ARN.Name)
	}
	slices.Sort(names)
	return names
}

// plan is what Plan tells, by name.
func plan(t testing.TB, s *Store) map[string]service.RotationStatus {
	t.Helper()
	out := map[string]service.RotationStatus{}
	last := ""
	err := s.Plan(context.Background(), s.now().AddDate(0, 3, 0), func(r service.RotationStatus) error {
		if r.Name <= last {
			t.Errorf("%q comes after %q", r.Name, last)
		}
		last = r.Name
		out[r.Name] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tag(key, value string) service.Tag { return service.Tag{Key: key, Value: value} }

func count(calls []string, operation string) int {
	n := 0
	for _, c := range calls {
		if c == operation {
			n++
		}
	}
	return n
}

// rotate makes a new value AWSCURRENT, as the rotator would.
func rotate(t testing.TB, s *Store, name string) {
	t.Helper()
	ctx := context.Background()
	c, err := s.Claim(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	id, err := c.PutPending(ctx, "", secrets.Text(`{"password":"`+canary+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Promote(ctx, id, false); err != nil {
		t.Fatal(err)
	}
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t, discover)
	for i := range 250 {
		w.create(fmt.Sprintf("found/%03d", i), "{}", tag(TagSchedule, "rate(30 days)"))
	}
	for i := range 20 {
		w.create(fmt.Sprintf("other/%03d", i), "{}", tag("team", "pawl:schedule"))
	}
	w.create("bad", "{}", tag(TagSchedule, "rate(30 days)"), tag(TagStrategy, "multi-user"))
	w.create("byaws", "{}", tag(TagStrategy, "single-user"))
	off := false
	if _, err := w.own.RotateSecret(context.Background(), service.RotateSecretInput{
		SecretID: "byaws", ClientRequestToken: tok("byaws"), RotationLambdaARN: "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user", RotateImmediately: &off,
		RotationRules: &service.RotationRules{ScheduleExpression: "rate(10 days)"},
	}); err != nil {
		t.Fatal(err)
	}
	if got := due(t, w.Store); len(got) != 0 {
		t.Errorf("due at once: %v", got)
	}
	if calls := w.proxy.counted(); count(calls, opList) != 3 || len(calls) != 3 {
		t.Errorf("252 secrets took %v", calls)
	}
	for range 3 {
		due(t, w.Store)
	}
	if calls := w.proxy.counted(); len(calls) != 0 {
		t.Errorf("a listing that is not old took %v", calls)
	}
	w.clock.Advance(31 * 24 * time.Hour)
	got := due(t, w.Store)
	if len(got) != 250 || got[0] != "found/000" || got[249] != "found/249" {
		t.Errorf("%d are due: %v", len(got), got)
	}
	if calls := w.proxy.counted(); count(calls, opList) != 3 || len(calls) != 3 {
		t.Errorf("what was never changed has one date only; asking took %v", calls)
	}
	for _, line := range []string{`secret=bad reason="secret \"bad\": tag pawl:strategy`, `secret=byaws reason="secret \"byaws\": AWS rotates it already`} {
		if n := strings.Count(w.log.String(), line); n != 1 {
			t.Errorf("%d times in the log: %s\n%s", n, line, w.log)
		}
	}
	statuses := plan(t, w.Store)
	if len(statuses) != 252 || !strings.Contains(statuses["byaws"].Problem, "AWS rotates it") || !strings.Contains(statuses["bad"].Problem, "single-user or alternating-users") {
		t.Errorf("%d in the plan; %+v", len(statuses), statuses["byaws"])
	}
	if s := statuses["found/000"]; s.Problem != "" || s.Source != "tags" || !s.Enabled || s.At.IsZero() || len(s.Following) != 3 {
		t.Errorf("found/000: %+v", s)
	}
}

// TestNamed: few names are asked for by name, many by listing everything; and
// who is nowhere is told.
func TestNamed(t *testing.T) {
	w := newWorld(t, declare("rate(30 days)", "a", "b", "!c", "gone"))
	for _, n := range []string{"a", "ab", "b", "!c", "d"} {
		w.create(n, "{}")
	}
	for _, tt := range []struct {
		name     string
		declared []string
		calls    int
	}{
		{"two", []string{"a", "gone"}, 1},
		{"eleven", []string{"a", "gone", "b", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"}, 2},
		{"one that a filter takes for its opposite", []string{"!c", "a"}, 1},
		{"none", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := w.another(declare("rate(30 days)", tt.declared...))
			w.proxy.counted()
			got := plan(t, s)
			if calls := w.proxy.counted(); count(calls, opList) != tt.calls {
				t.Errorf("took %v, want %d listings", calls, tt.calls)
			}
			for _, n := range tt.declared {
				_, there := got[n]
				if there == slices.Contains(s.Missing(), n) {
					t.Errorf("%s: there %v, missing %v", n, there, s.Missing())
				}
			}
			if _, ok := got["ab"]; ok {
				t.Error("a name that begins like a declared one is taken for it")
			}
		})
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("n%d", i)
	}
	s := w.another(declare("rate(30 days)", append(many, "a", "!c")...))
	if got := plan(t, s); len(got) != 2 || got["a"].Source != "file pawl.yaml:102" {
		t.Errorf("of many names there are %v", got)
	}
}

// TestRestart: another process, which has nothing of this one's, sees the same
// due times, failures and pauses.
func TestRestart(t *testing.T) {
	ctx := context.Background()
	names := []string{"byhand", "failing", "paused", "rotated", "unfinished"}
	for _, schedule := range []string{"rate(10 days)", "cron(0 2 ? * SUN *)"} {
		t.Run(schedule, func(t *testing.T) {
			w := newWorld(t, declare(schedule, names...))
			for _, n := range names {
				w.create(n, "{}")
			}
			w.clock.Advance(4 * 24 * time.Hour)
			due(t, w.Store)
			rotate(t, w.Store, "rotated")
			rotate(t, w.Store, "failing")
			w.put("byhand", "v2", "{}")
			if err := w.Pause(ctx, "paused"); err != nil {
				t.Fatal(err)
			}
			c, err := w.Claim(ctx, "failing")
			if err != nil {
				t.Fatal(err)
			}
			failure := secrets.Attempt{
				Tries: 3, Kind: secrets.Denied, LastError: "db:5432: no", FailingSince: w.now(), NextTry: w.now().Add(time.Hour),
			}
			if err := c.Save(ctx, failure); err != nil {
				t.Fatal(err)
			}
			c.Release()
			if c, err = w.Claim(ctx, "unfinished"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.PutPending(ctx, "", secrets.Text("{}")); err != nil {
				t.Fatal(err)
			}
			c.Release()

			for _, later := range []time.Duration{0, 24 * time.Hour, 9*24*time.Hour + 4*time.Hour, 16 * 24 * time.Hour} {
				w.clock.Advance(later)
				here, there := plan(t, w.Store), plan(t, w.another(declare(schedule, names...)))
				same := names
				if strings.HasPrefix(schedule, "cron") {
					// That of a secret that was never rotated counts from when a process
					// first saw it.
					same = []string{"failing", "rotated"}
				}
				for _, n := range same {
					if diff := cmp.Diff(here[n], there[n]); diff != "" {
						t.Errorf("%s after %v (-this +another process):\n%s", n, later, diff)
					}
				}
				if got := there["failing"].Attempt; !cmp.Equal(got, attemptOf(attemptTags(failure))) {
					t.Errorf("the failure is %+v", got)
				}
				if p := there["paused"]; !p.Paused || !p.At.IsZero() {
					t.Errorf("paused: %+v", p)
				}
				if u := there["unfinished"]; !u.Unfinished || u.At.After(w.now()) {
					t.Errorf("unfinished: %+v", u)
				}
				if there["rotated"].LastRotated.IsZero() || !there["byhand"].LastRotated.IsZero() {
					t.Errorf("rotated %v, by hand %v", there["rotated"].LastRotated, there["byhand"].LastRotated)
				}
				// Who is asked by bounds alone offers the same.
				one, other := due(t, w.Store), due(t, w.another(declare(schedule, names...)))
				if strings.HasPrefix(schedule, "rate") && !slices.Equal(one, other) {
					t.Errorf("after %v %v are due here, %v there", later, one, other)
				}
			}
		})
	}
}

// TestDatesAreAskedOnce: only where they decide, and never twice.
func TestDatesAreAskedOnce(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "touched", "plain"))
	w.create("touched", "{}")
	w.create("plain", "{}")
	w.clock.Advance(20 * 24 * time.Hour)
	if err := w.own.TagResource(ctx, service.TagResourceInput{SecretID: "touched", Tags: []service.Tag{tag("team", "x")}}); err != nil {
		t.Fatal(err)
	}
	if got := due(t, w.Store); !slices.Equal(got, []string{"plain", "touched"}) {
		t.Errorf("due: %v", got)
	}
	if calls := w.proxy.counted(); count(calls, opVersions) != 1 {
		t.Errorf("took %v", calls)
	}
	w.clock.Advance(time.Hour)
	due(t, w.Store)
	if calls := w.proxy.counted(); count(calls, opVersions) != 0 || count(calls, opList) != 1 {
		t.Errorf("an hour later it took %v", calls)
	}
	// What this process rotates itself it knows.
	rotate(t, w.Store, "touched")
	rotate(t, w.Store, "plain")
	w.proxy.counted()
	w.clock.Advance(time.Hour)
	if got := due(t, w.Store); len(got) != 0 {
		t.Errorf("due right after their rotation: %v", got)
	}
	if calls := w.proxy.counted(); count(calls, opVersions) != 0 {
		t.Errorf("after their rotation it took %v", calls)
	}
	if got := plan(t, w.Store)["plain"]; !got.LastRotated.Equal(w.now().Add(-time.Hour)) || got.At.Before(w.now()) {
		t.Errorf("plain: %+v", got)
	}
}

// TestDatesDenied: who may not be asked is reported, held back, and asked again.
func TestDatesDenied(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "touched", "plain"))
	w.create("touched", "{}")
	w.create("plain", "{}")
	w.clock.Advance(20 * 24 * time.Hour)
	if err := w.own.TagResource(ctx, service.TagResourceInput{SecretID: "touched", Tags: []service.Tag{tag("team", "x")}}); err != nil {
		t.Fatal(err)
	}
	w.allow(`{"Effect":"Allow","Action":["secretsmanager:ListSecrets","secretsmanager:DescribeSecret"],"Resource":"*"}`)
	for range 3 {
		if got := due(t, w.Store); !slices.Equal(got, []string{"plain"}) {
			t.Errorf("due: %v", got)
		}
	}
	if calls := w.proxy.counted(); count(calls, opVersions) != 1 {
		t.Errorf("who was refused asked again: %v", calls)
	}
	if !strings.Contains(w.log.String(), "secretsmanager:ListSecretVersionIds") {
		t.Errorf("the log does not say what is missing: %s", w.log)
	}
	if s := plan(t, w.Store)["touched"]; !strings.Contains(s.Problem, "secretsmanager:ListSecretVersionIds") || !s.At.IsZero() {
		t.Errorf("the plan shows %+v", s)
	}
	if s := plan(t, w.Store)["plain"]; s.Problem != "" || s.At.IsZero() || s.At.After(w.now()) {
		t.Errorf("the plan shows %+v", s)
	}
	w.allow(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
	w.clock.Advance(20 * time.Minute)
	if got := due(t, w.Store); len(got) != 2 {
		t.Errorf("after it was allowed these are due: %v", got)
	}
	if s := plan(t, w.Store)["touched"]; s.Problem != "" || s.At.IsZero() {
		t.Errorf("the plan shows %+v", s)
	}
}

func TestListingFails(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "a"))
	w.create("a", "{}")
	w.clock.Advance(20 * 24 * time.Hour)
	w.allow(`{"Effect":"Allow","Action":"secretsmanager:DescribeSecret","Resource":"*"}`)
	for range 3 {
		_, err := w.Due(ctx, w.now(), service.DueAfter{}, 10)
		wantKind(t, err, secrets.Denied, "secretsmanager:ListSecrets")
	}
	if calls := w.proxy.counted(); len(calls) != 1 {
		t.Errorf("who was refused asked again at once: %v", calls)
	}
	if err := w.Plan(ctx, time.Time{}, func(service.RotationStatus) error { return nil }); secrets.KindOf(err) != secrets.Denied {
		t.Errorf("Plan: %v", err)
	}
	w.allow(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
	w.clock.Advance(tryAgain)
	if got := due(t, w.Store); len(got) != 1 {
		t.Errorf("due: %v", got)
	}
	// Later failures leave the old listing in use for a while.
	w.proxy.on(opList, 1<<30, answers(403, "AccessDeniedException", "not now"))
	failed := strings.Count(w.log.String(), "AWS can't be asked")
	for range 3 {
		w.clock.Advance(DefaultRefresh - time.Second)
		if got := due(t, w.Store); len(got) != 1 {
			t.Errorf("with an old listing these are due: %v", got)
		}
	}
	w.clock.Advance(10 * time.Second)
	_, err := w.Due(ctx, w.now(), service.DueAfter{}, 10)
	wantKind(t, err, secrets.Denied, "not now")
	settle(t, w.Store)
	if n := strings.Count(w.log.String(), "AWS can't be asked") - failed; n < 2 || n > 4 {
		t.Errorf("logged %d times in a quarter of an hour: %s", n, w.log)
	}
	w.proxy.mend()
	w.clock.Advance(tryAgain)
	_, _ = w.Due(ctx, w.now(), service.DueAfter{}, 10) // has it renewed
	settle(t, w.Store)
	if got := due(t, w.Store); len(got) != 1 || !strings.Contains(w.log.String(), "AWS lists the secrets again") {
		t.Errorf("when it works again these are due: %v", got)
	}
}

// TestChangesShow: what is new, gone or otherwise is so after a refresh, and what
// the file says, at once.
func TestChangesShow(t *testing.T) {
	w := newWorld(t, discover)
	w.create("a", "{}", tag(TagSchedule, "rate(10 days)"))
	w.clock.Advance(20 * 24 * time.Hour)
	if got := due(t, w.Store); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("due: %v", got)
	}
	w.remove("a", true)
	w.create("b", "{}", tag(TagSchedule, "cron(0 10 * * ? *)"))
	if got := due(t, w.Store); !slices.Equal(got, []string{"a"}) {
		t.Errorf("before the refresh these are due: %v", got)
	}
	w.clock.Advance(35 * time.Minute) // 10:55, and past b's share of the first hour, or not
	got := due(t, w.Store)
	if slices.Contains(got, "a") {
		t.Errorf("after the refresh these are due: %v", got)
	}
	if s, ok := plan(t, w.Store)["b"]; !ok || !s.Window.Contains(w.now()) {
		t.Errorf("b: %+v", s)
	}
	// The file takes b over, and then says nothing of it any more.
	c := w.settings()
	declare("rate(40 days)", "b")(&c)
	w.Reconfigure(c)
	if s := w.listing.entries; len(s) != 1 || plan(t, w.Store)["b"].Source != "file pawl.yaml:1" {
		t.Errorf("declared: %+v", s)
	}
	c.Declared, c.Discover = nil, false
	w.Reconfigure(c)
	if got := plan(t, w.Store); len(got) != 0 {
		t.Errorf("declared no more: %v", got)
	}
}

// TestUnfinishedOfNobody: a rotation that was begun is finished, also when nobody
// declares it any more.
func TestUnfinishedOfNobody(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "a"))
	w.create("a", "{}")
	due(t, w.Store)
	c, err := w.Claim(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.PutPending(ctx, "", secrets.Text("{}"))
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
	none := w.settings()
	none.Declared = nil
	w.Reconfigure(none)
	w.clock.Advance(time.Hour)
	ds, err := w.Due(ctx, w.now(), service.DueAfter{}, 10)
	if err != nil || len(ds) != 1 || !ds[0].Unfinished || !ds[0].At.Equal(w.now()) {
		t.Fatalf("due: %+v, %v", ds, err)
	}
	settle(t, w.Store)
	if got := due(t, w.Store); len(got) != 1 {
		t.Errorf("due after a refresh: %v", got)
	}
	if c, err = w.Claim(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := c.Promote(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	c.Release()
	if got := due(t, w.Store); len(got) != 0 || len(w.listing.entries) != 0 {
		t.Errorf("due when it is finished: %v; %v", got, w.listing.entries)
	}
}

// TestWindowGoesBy: what was not taken up while its window was open waits for the
// next one.
func TestWindowGoesBy(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 59, 59, 0, time.UTC)
	clock := clockwork.NewFakeClockAt(now)
	c := Config{}
	declare("cron(0 10 * * ? *)", "a")(&c)
	c.Declared[0].Rules.Window = "1h"
	s := bare(clock, c)
	r := recordOf("a")
	s.adopt(map[string]*record{r.ARN.String(): r}, now)
	if got := due(t, s); len(got) != 1 {
		t.Fatalf("due: %v", got)
	}
	clock.Advance(time.Second)
	if got := due(t, s); len(got) != 0 {
		t.Errorf("due after its window: %v", got)
	}
	clock.Advance(24*time.Hour - time.Second)
	s.listing.listed = s.now() // nobody can be asked here
	if got := due(t, s); len(got) != 1 {
		t.Errorf("due the day after: %v", got)
	}
	if err := s.Reschedule(context.Background(), r.ARN, s.now()); err != nil || len(due(t, s)) != 1 {
		t.Errorf("rescheduled: %v, %v", err, due(t, s))
	}
}

// TestLearntCountsMore: for as long as a listing may not show what has happened,
// what a claim has told is true.
func TestLearntCountsMore(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC)
	clock := clockwork.NewFakeClockAt(now)
	c := Config{}
	declare("rate(10 days)", "a")(&c)
	s := bare(clock, c)
	old := func() map[string]*record { r := recordOf("a"); return map[string]*record{r.ARN.String(): r} }
	s.adopt(old(), now)
	if got := due(t, s); len(got) != 1 {
		t.Fatalf("due: %v", got)
	}
	fresh := recordOf("a")
	fresh.Versions = secrets.Versions{{ID: "v1", Labels: []string{secrets.Previous}}, {ID: "v2", Created: now, Labels: []string{secrets.Current, secrets.Intent}}}
	s.learn(fresh)
	for _, tt := range []struct {
		name  string
		began time.Duration
		found map[string]*record
		due   int
		there bool
	}{
		{"a listing from before", -time.Second, old(), 0, true},
		{"one from before that has it not yet", -time.Second, nil, 0, true},
		{"one that may be as old", listingLag - time.Second, old(), 0, true},
		{"one that shows what is", listingLag, old(), 1, true},
		{"one that has it no more", listingLag, nil, 0, false},
	} {
		began := now.Add(tt.began)
		s.adopt(tt.found, began)
		s.listing.listed = clock.Now()
		if got := due(t, s); len(got) != tt.due || len(s.listing.entries) == 1 != tt.there {
			t.Errorf("after %s these are due: %v; there are %d", tt.name, got, len(s.listing.entries))
		}
	}
}

// TestUnclaimed: what can't be claimed is not offered again at once.
func TestUnclaimed(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "a", "b"))
	w.create("a", "{}")
	w.create("b", "{}")
	w.clock.Advance(20 * 24 * time.Hour)
	if got := due(t, w.Store); len(got) != 2 {
		t.Fatalf("due: %v", got)
	}
	w.remove("a", true)
	w.proxy.on(opDescribe, 2, answers(403, "AccessDeniedException", "no"))
	for _, n := range []string{"b", "a"} {
		if _, err := w.Claim(ctx, n); secrets.KindOf(err) != secrets.Denied {
			t.Errorf("Claim %s: %v", n, err)
		}
	}
	if got := due(t, w.Store); len(got) != 0 {
		t.Errorf("after a refusal these are due: %v", got)
	}
	w.clock.Advance(16 * time.Minute)
	w.proxy.on(opList, 1<<30, answers(403, "AccessDeniedException", "no"))
	if _, err := w.Claim(ctx, "a"); secrets.CodeOf(err) != resourceNotFound {
		t.Errorf("Claim a: %v", err)
	}
	w.listing.listed = w.now()
	if got := due(t, w.Store); !slices.Equal(got, []string{"b"}) {
		t.Errorf("a quarter of an hour later these are due: %v", got)
	}
}

// TestRotatedElsewhere: a claim finds out that another process was faster.
func TestRotatedElsewhere(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "a"))
	w.create("a", "{}")
	w.clock.Advance(20 * 24 * time.Hour)
	ds, err := w.Due(ctx, w.now(), service.DueAfter{}, 10)
	if err != nil || len(ds) != 1 {
		t.Fatalf("due: %v, %v", ds, err)
	}
	rotate(t, w.another(), "a")
	w.proxy.counted()
	c, err := w.Claim(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Rotation().LastRotated; got.Before(ds[0].At) {
		t.Errorf("last rotated %v, though it was after it had become due %v", got, ds[0].At)
	}
	c.Release()
	if calls := w.proxy.counted(); !slices.Equal(calls, []string{opDescribe, opVersions}) {
		t.Errorf("took %v", calls)
	}
	if got := due(t, w.Store); len(got) != 0 {
		t.Errorf("due: %v", got)
	}
}

func TestPauseAndResume(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "a"))
	arn := w.create("a", "{}")
	w.create("b", "{}")
	w.clock.Advance(20 * 24 * time.Hour)
	if got := due(t, w.Store); len(got) != 1 {
		t.Fatalf("due: %v", got)
	}
	for _, id := range []string{"a", arn} {
		if err := w.Pause(ctx, id); err != nil {
			t.Fatal(err)
		}
		if got := due(t, w.Store); len(got) != 0 {
			t.Errorf("due while paused: %v", got)
		}
	}
	if tags := w.tags("a"); len(tags) != 1 || tags[0].Key != TagPaused || !allowedInTags.MatchString(tags[0].Value) {
		t.Errorf("tags: %v", tags)
	}
	for range 2 {
		if err := w.Resume(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := due(t, w.Store); len(got) != 1 || len(w.tags("a")) != 0 {
		t.Errorf("due when resumed: %v; tags %v", got, w.tags("a"))
	}
	wantKind(t, w.Pause(ctx, "b"), secrets.Invalid, `secret "b"`, "no rotation is declared", "pawl:schedule")
	if err := w.Pause(ctx, "c"); secrets.CodeOf(err) != resourceNotFound {
		t.Errorf("Pause of nothing: %v", err)
	}
	w.allow(`{"Effect":"Allow","Action":"secretsmanager:DescribeSecret","Resource":"*"}`)
	wantKind(t, w.Pause(ctx, "a"), secrets.Denied, "secretsmanager:TagResource")
}

func TestCredentialsNear(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "app"))
	arn := w.create("root", `{"username":"root","password":"`+canary+`","host":"db"}`)
	near := secrets.ARN{Partition: "aws", Region: "us-east-1", Account: "123456789012", Name: "app", Suffix: "AbCdEf"}
	for _, id := range []string{"root", arn} {
		w.proxy.counted()
		cred, got, err := w.CredentialsNear(ctx, near, id)
		if err != nil || cred.Username() != "root" || got.String() != arn {
			t.Errorf("%s: %v, %v", id, got, err)
		}
		if calls := w.proxy.counted(); !slices.Equal(calls, []string{opValue}) {
			t.Errorf("took %v", calls)
		}
	}
	w.create("text", canary)
	_, _, err := w.CredentialsNear(ctx, near, "text")
	wantKind(t, err, secrets.Invalid, `secret "text"`)
	_, _, err = w.CredentialsNear(ctx, near, "none")
	wantKind(t, err, secrets.Invalid, `secret "none"`)
	w.proxy.counted()
	_, _, err = w.CredentialsNear(ctx, near, strings.Replace(arn, "us-east-1", "eu-west-1", 1))
	wantKind(t, err, secrets.Invalid, `secret "root": it is in eu-west-1, and here secrets of us-east-1 are rotated`)
	if calls := w.proxy.counted(); len(calls) != 0 {
		t.Errorf("asked %v", calls)
	}
}

// TestEndlessPages: an endpoint that gives the same page again and again is not
// asked for ever.
func TestEndlessPages(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "app"))
	w.create("app", canary)
	again := func(body string) fault {
		return func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) { _, _ = io.WriteString(w, body) }
	}
	w.proxy.on(opList, 99, again(`{"SecretList":[],"NextToken":"more"}`))
	w.proxy.on(opVersions, 99, again(`{"Versions":[],"NextToken":"more"}`))
	_, err := w.Due(ctx, w.now(), service.DueAfter{}, 1)
	wantKind(t, err, secrets.Invalid, "ListSecrets: the page after the last one is that one again", w.api.server)
	_, err = w.Store.versions(ctx, secrets.ARN{Name: "app"})
	wantKind(t, err, secrets.Invalid, "ListSecretVersionIds: the page")
	if calls := w.proxy.counted(); len(calls) != 4 {
		t.Errorf("asked %v", calls)
	}
}

// TestTarget: which server a secret's password is changed at is known once its
// value was read; until then it is a target of its own.
func TestTarget(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, declare("rate(10 days)", "a"), func(c *Config) { c.DefaultPort = func(string) int { return 5432 } })
	w.create("a", `{"username":"app","password":"`+canary+`","host":"DB"}`)
	w.clock.Advance(20 * 24 * time.Hour)
	target := func() string {
		ds, err := w.Due(ctx, w.now(), service.DueAfter{}, 10)
		if err != nil || len(ds) != 1 {
			t.Fatalf("due: %v, %v", ds, err)
		}
		return ds[0].Target
	}
	if got := target(); got != "a" {
		t.Errorf("before its value was read the target is %q", got)
	}
	c, err := w.Claim(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Value(ctx, tok("v1")); err != nil {
		t.Fatal(err)
	}
	c.Release()
	if got := target(); got != "db:5432" {
		t.Errorf("the target is %q", got)
	}
}

// full is a Store that knows n secrets, every tenth of which is due.
func full(n int) *Store {
	now := time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC)
	s := bare(clockwork.NewFakeClockAt(now), Config{Discover: true})
	found := map[string]*record{}
	for i := range n {
		r := recordOf(fmt.Sprintf("prod/%05d", i), TagSchedule, "rate(30 days)")
		if i%10 != 0 {
			r.Created = now.AddDate(0, 0, -3)
			r.Changed = r.Created
		}
		found[r.ARN.String()] = r
	}
	s.adopt(found, now)
	return s
}

// Page by page comes what is due, each once, and so it is counted.
func TestDueIsReadOn(t *testing.T) {
	s := full(10_000)
	all, err := s.Due(context.Background(), s.now(), service.DueAfter{}, 10_000)
	if err != nil || len(all) < 900 {
		t.Fatal(len(all), err)
	}
	for _, n := range []int{1, 7, 512} {
		var got []service.Due
		for after := (service.DueAfter{}); ; after = got[len(got)-1].After {
			page, err := s.Due(context.Background(), s.now(), after, n)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, page...); len(page) < n {
				break
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("in pages of %d: %d instead of %d, or others", n, len(got), len(all))
		}
	}
	for most, want := range map[int]int{0: 0, 10: 10, 10_000: len(all)} {
		n, oldest, err := s.Backlog(context.Background(), s.now(), most)
		if err != nil || n != want || n > 0 && !oldest.Equal(all[0].After.At) {
			t.Errorf("at most %d are due: %d since %v, %v", most, n, oldest, err)
		}
	}
}

func BenchmarkDue(b *testing.B) {
	s := full(10_000)
	for b.Loop() {
		ds, err := s.Due(context.Background(), s.now(), service.DueAfter{}, 512)
		if err != nil || len(ds) != 512 {
			b.Fatal(len(ds), err)
		}
	}
}

func BenchmarkAdopt(b *testing.B) {
	s := full(10_000)
	found := map[string]*record{}
	for key, e := range s.listing.entries {
		found[key] = e.record
	}
	b.ReportAllocs()
	for b.Loop() {
		s.adopt(found, s.now())
	}
}

func BenchmarkLearn(b *testing.B) {
	s := full(10_000)
	r := recordOf("prod/00010", TagSchedule, "rate(30 days)")
	for b.Loop() {
		s.learn(r)
	}
}
