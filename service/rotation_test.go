package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const daily = "cron(0 2 * * ? *)"

func entry(name string, line int, r secrets.RotationRules) service.Declaration {
	return service.Declaration{Name: name, Rules: r, Source: fmt.Sprint("file pawl.yaml:", line)}
}

func (h *house) declare(ds ...service.Declaration) service.DeclareReport {
	h.t.Helper()
	report, err := h.Declare(h.t.Context(), ds)
	if err != nil {
		h.t.Fatal(err)
	}
	return report
}

func (h *house) statuses() map[string]service.RotationStatus {
	h.t.Helper()
	out := map[string]service.RotationStatus{}
	err := h.Rotations(h.t.Context(), func(r service.RotationStatus) error {
		out[r.Name] = r
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func TestDeclare(t *testing.T) {
	h := open(t, service.Config{})
	for _, name := range []string{"a", "b", "c"} {
		h.create(name, "x")
	}
	start := h.clock.now()
	rules := secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: daily, Window: "2h", Hosts: []string{"h2"}}
	step := func(want service.DeclareReport, writes int64, ds ...service.Declaration) {
		t.Helper()
		before := h.store.writes.Load()
		if diff := cmp.Diff(want, h.declare(ds...)); diff != "" {
			t.Error(diff)
		}
		if got := h.store.writes.Load() - before; got != writes {
			t.Errorf("%d writes, want %d", got, writes)
		}
		h.clock.add(time.Minute)
	}
	step(service.DeclareReport{}, 0)
	step(service.DeclareReport{Changed: []string{"a", "b"}, Missing: []string{"later", "never"}}, 2,
		entry("b", 7, rules), entry("never", 9, rules), entry("a", 5, rules), entry("later", 8, rules))
	want := &secrets.Rotation{Rules: rules, Enabled: true, Source: "file pawl.yaml:5", Since: start.Add(time.Minute)}
	if diff := cmp.Diff(want, h.record("a").Rotation); diff != "" {
		t.Error(diff)
	}
	if due := h.record("a").DueAt; due.Before(time.Date(2026, 3, 5, 2, 0, 0, 0, time.UTC)) || due.After(time.Date(2026, 3, 5, 3, 0, 0, 0, time.UTC)) {
		t.Errorf("due at %v", due)
	}
	// The same again, on other lines of the file, is not written; but shown.
	step(service.DeclareReport{Missing: []string{"later"}}, 0, entry("a", 15, rules), entry("b", 17, rules), entry("later", 18, rules))
	if got := h.statuses()["a"].Source; got != "file pawl.yaml:15" {
		t.Errorf("source %s", got)
	}
	// A declared secret gets its rotation when it is created.
	h.create("later", "x")
	if got := h.record("later"); got.Rotation == nil || !got.Rotation.Enabled || got.DueAt.IsZero() {
		t.Errorf("created with %+v", got.Rotation)
	}
	// A change keeps what history left; another schedule counts from now.
	claim(t, h, "a").rotate("v2")
	rotated := h.record("a").Rotation.LastRotated
	other := rules
	other.CheckQuery = "SELECT 1"
	step(service.DeclareReport{Changed: []string{"a"}}, 1, entry("a", 5, other), entry("b", 7, rules), entry("later", 8, rules))
	if got := h.record("a").Rotation; !got.LastRotated.Equal(rotated) || !got.Since.Equal(start.Add(time.Minute)) || got.Rules.CheckQuery != "SELECT 1" {
		t.Errorf("changed to %+v", got)
	}
	other.Schedule = "cron(0 5 * * ? *)"
	now := h.clock.now()
	step(service.DeclareReport{Changed: []string{"a"}}, 1, entry("a", 5, other), entry("b", 7, rules), entry("later", 8, rules))
	if got := h.record("a").Rotation; !got.Since.Equal(now) || !got.LastRotated.Equal(rotated) {
		t.Errorf("changed to %+v", got)
	}
	// What vanished is turned off, once.
	step(service.DeclareReport{Removed: []string{"a", "later"}}, 2, entry("b", 7, rules))
	step(service.DeclareReport{}, 0, entry("b", 7, rules))
	if sec := h.record("a"); sec.Rotation.Enabled || !sec.DueAt.IsZero() || sec.Rotation.Rules.Schedule != other.Schedule {
		t.Errorf("turned off: %+v, due %v", sec.Rotation, sec.DueAt)
	}
	// And on again, from now.
	now = h.clock.now()
	step(service.DeclareReport{Changed: []string{"a"}}, 1, entry("a", 5, other), entry("b", 7, rules))
	if got := h.record("a").Rotation; !got.Enabled || !got.Since.Equal(now) {
		t.Errorf("turned on: %+v", got)
	}
	if h.record("c").Rotation != nil {
		t.Error("a secret nobody declared has a rotation")
	}
}

func TestDeclareRefuses(t *testing.T) {
	h := open(t, service.Config{})
	h.create("a", "x")
	ok := entry("a", 1, secrets.RotationRules{Schedule: daily})
	for part, ds := range map[string][]service.Declaration{
		`secret "a": declared twice: file pawl.yaml:1 and file pawl.yaml:2`: {ok, entry("a", 2, secrets.RotationRules{})},
		`secret "b": file pawl.yaml:3: `:                                    {ok, entry("b", 3, secrets.RotationRules{Schedule: "rate(1 minute)"})},
		`window "1d"`:                                                       {ok, entry("b", 3, secrets.RotationRules{Schedule: daily, Window: "1d"})},
		`window 23h`:                                                        {ok, entry("b", 3, secrets.RotationRules{Schedule: daily, Window: "23h"})},
	} {
		_, err := h.Declare(t.Context(), ds)
		wantKind(t, err, secrets.Invalid, part)
	}
	if h.record("a").Rotation != nil {
		t.Error("a refused declaration was half applied")
	}
}

// What another declared is not the file's to turn off.
func TestDeclareLeavesOthersAlone(t *testing.T) {
	h := open(t, service.Config{})
	h.create("a", "x")
	if _, err := h.store.Update(t.Context(), h.record("a").ARN, func(sec *service.Secret) (service.Sealed, error) {
		sec.Rotation = &secrets.Rotation{Enabled: true, Source: "api", Rules: secrets.RotationRules{Schedule: "rate(1 day)"}}
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	if report := h.declare(); len(report.Removed) > 0 || !h.record("a").Rotation.Enabled {
		t.Errorf("got %+v", report)
	}
}

func TestDeclareFollowsANewPolicy(t *testing.T) {
	h := open(t, service.Config{})
	h.create("a", "x")
	ds := entry("a", 1, secrets.RotationRules{Schedule: daily, Window: "2h"})
	h.declare(ds)
	h.clock.add(48 * time.Hour) // two windows went by
	if err := h.Reschedule(t.Context(), h.record("a").ARN, h.clock.now()); err != nil {
		t.Fatal(err)
	}
	if due := h.record("a").DueAt; !due.After(h.clock.now()) {
		t.Fatalf("due at %v", due)
	}
	h.Reconfigure(0, true, secrets.RotationRules{})
	if report := h.declare(ds); len(report.Changed) > 0 {
		t.Errorf("got %+v", report)
	}
	if due := h.record("a").DueAt; due.After(h.clock.now()) {
		t.Errorf("to be caught up at once, but due at %v", due)
	}
	_, err := h.Declare(t.Context(), []service.Declaration{entry("a", 1, secrets.RotationRules{Schedule: "rate(1 minute)"})})
	wantKind(t, err, secrets.Invalid, "minimum_interval")
	h.Reconfigure(time.Minute, false, secrets.RotationRules{})
	h.declare(entry("a", 1, secrets.RotationRules{Schedule: "rate(1 minute)"}))
	if due := h.record("a").DueAt; due.IsZero() || due.After(h.clock.now()) {
		t.Errorf("due at %v", due)
	}
}

func TestPauseAndResume(t *testing.T) {
	h := open(t, service.Config{})
	h.create("a", "x")
	ctx := t.Context()
	for _, err := range []error{h.Pause(ctx, "a"), h.Resume(ctx, "a")} {
		wantKind(t, err, secrets.Invalid, `secret "a": no rotation is declared for it; declare one`)
	}
	wantErr(t, h.Pause(ctx, "nowhere"), "ResourceNotFoundException", notFoundText)
	ds := entry("a", 1, secrets.RotationRules{Schedule: daily})
	h.declare(ds)
	due := h.record("a").DueAt
	set := func(do func(context.Context, string) error, writes int64, want time.Time) {
		t.Helper()
		before := h.store.writes.Load()
		if err := do(ctx, "a"); err != nil {
			t.Error(err)
		}
		if got := h.store.writes.Load() - before; got != writes {
			t.Errorf("%d writes, want %d", got, writes)
		}
		if got := h.record("a").DueAt; !got.Equal(want) {
			t.Errorf("due at %v, want %v", got, want)
		}
	}
	set(h.Pause, 1, time.Time{})
	set(h.Pause, 0, time.Time{})
	if report := h.declare(ds); len(report.Changed) > 0 || !h.record("a").Rotation.Paused {
		t.Error("a restart ends the pause")
	}
	set(h.Resume, 1, due)
	set(h.Resume, 0, due)
	set(h.Pause, 1, time.Time{})
	h.declare() // its entry goes; the pause can still be ended
	set(h.Resume, 1, time.Time{})
	wantKind(t, h.Pause(ctx, "a"), secrets.Invalid, "no rotation is declared")
}

func TestRotations(t *testing.T) {
	h := open(t, service.Config{})
	var ds []service.Declaration
	for i := range 600 { // more than two pages
		name := fmt.Sprintf("s%03d", i)
		h.create(name, "x")
		ds = append(ds, entry(name, i, secrets.RotationRules{Schedule: daily}))
	}
	h.create("plain", "x")
	h.declare(ds...)
	var seen []string
	err := h.Rotations(t.Context(), func(r service.RotationStatus) error {
		seen = append(seen, r.Name)
		return nil
	})
	if err != nil || len(seen) != 600 || !slices.IsSorted(seen) {
		t.Errorf("%d seen, %v", len(seen), err)
	}
	stop := errors.New("enough")
	n := 0
	if err := h.Rotations(t.Context(), func(service.RotationStatus) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	}); err != stop || n != 3 {
		t.Errorf("%d seen, %v", n, err)
	}

	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s000"}); err != nil {
		t.Fatal(err)
	}
	c := claim(t, h, "s001")
	c.pending("")
	h.clock.add(time.Minute)
	attempt := secrets.Attempt{Tries: 1, NextTry: h.clock.now().Add(time.Minute), LastError: "no", Kind: secrets.Denied, FailingSince: h.clock.now()}
	if err := c.Save(t.Context(), attempt); err != nil {
		t.Fatal(err)
	}
	c.Release()
	if _, err := h.store.Update(t.Context(), h.record("s002").ARN, func(sec *service.Secret) (service.Sealed, error) {
		sec.Rotation.Rules.Schedule = "cron(broken)"
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	all := h.statuses()
	if _, shown := all["s000"]; shown {
		t.Error("a secret marked for deletion is shown")
	}
	if r := all["s001"]; !r.Unfinished || !r.At.Equal(attempt.NextTry) || r.Attempt != attempt || r.ARN != h.record("s001").ARN {
		t.Errorf("got %+v", r)
	}
	if r := all["s002"]; r.Problem == "" || !r.At.IsZero() || r.Unfinished {
		t.Errorf("got %+v", r)
	}
	if r := all["s003"]; r.Problem != "" || !r.At.Equal(h.record("s003").DueAt) || !r.Window.Open.Equal(time.Date(2026, 3, 5, 2, 0, 0, 0, time.UTC)) || r.Source != "file pawl.yaml:3" || !r.Enabled {
		t.Errorf("got %+v", r)
	}
}

func TestDue(t *testing.T) {
	h := open(t, service.Config{DefaultPort: func(engine string) int {
		return map[string]int{"postgres": 5432}[engine]
	}})
	ctx := t.Context()
	for name, value := range map[string]string{
		"a": `{"engine":"postgres","host":"DB1"}`,
		"b": `{"engine":"postgres","host":"db2","port":"5433"}`,
		"c": `{"engine":"other","host":"db3"}`,
		"d": `not JSON`,
		"e": `{"engine":"postgres","host":"::1","port":5434}`,
		"f": `{"engine":"postgres","host":"db6","port":"x"}`,
		"g": `{"engine":"other"}`,
	} {
		h.create(name, value)
	}
	rules := func(r secrets.RotationRules) secrets.RotationRules { r.Schedule = daily; r.Window = "2h"; return r }
	h.declare(entry("a", 1, rules(secrets.RotationRules{})), entry("b", 2, rules(secrets.RotationRules{})), entry("c", 3, rules(secrets.RotationRules{})),
		entry("d", 4, rules(secrets.RotationRules{})), entry("e", 5, rules(secrets.RotationRules{})), entry("f", 6, rules(secrets.RotationRules{})), entry("g", 7, rules(secrets.RotationRules{AdminHost: "admin:1"})))
	targets := func(want string) []service.Due {
		t.Helper()
		ds, err := h.Due(ctx, h.clock.now(), service.DueAfter{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, d := range ds {
			got[d.ARN.Name] = d.Target
		}
		if fmt.Sprint(got) != want {
			t.Errorf("due: %v, want %s", got, want)
		}
		return ds
	}
	targets("map[]")
	h.clock.t = time.Date(2026, 3, 5, 3, 0, 0, 0, time.UTC)
	const all = "map[a:db1:5432 b:db2:5433 c:db3 d: e:[::1]:5434 f:db6:5432 g:admin:1]"
	for _, d := range targets(all) {
		if d.Unfinished || d.At.After(h.clock.now()) || !d.Window.Contains(h.clock.now()) || !d.At.Equal(h.record(d.ARN.Name).DueAt) {
			t.Errorf("got %+v", d)
		}
	}
	// Remembered: nothing but "d" is read again.
	closed := service.New(service.Config{Store: pruned{h.store}, Sealer: h.keys, Now: h.clock.now})
	if ds, err := closed.Due(ctx, h.clock.now(), service.DueAfter{}, 1); err != nil || len(ds) != 1 || ds[0].Target != "" {
		t.Errorf("got %v, %v", ds, err)
	}
	// With another value it is another target.
	if _, err := h.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: "a", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text(`{"host":"db9","port":1}`))}); err != nil {
		t.Fatal(err)
	}
	targets("map[a:db9:1 b:db2:5433 c:db3 d: e:[::1]:5434 f:db6:5432 g:admin:1]")
	ds := []service.Declaration{entry("a", 1, rules(secrets.RotationRules{AdminHost: "admin"})), entry("b", 2, rules(secrets.RotationRules{AdminHost: "Admin:7"}))}
	h.declare(ds...)
	targets("map[a:admin:1 b:admin:7]")

	// After the window: due in the store, but not really.
	h.clock.t = time.Date(2026, 3, 5, 4, 0, 0, 0, time.UTC)
	for _, d := range targets("map[a:admin:1 b:admin:7]") {
		if !d.At.After(h.clock.now()) || d.Window.Contains(h.clock.now()) {
			t.Errorf("got %+v", d)
		}
		for i := range 2 {
			before := h.store.writes.Load()
			if err := h.Reschedule(ctx, d.ARN, h.clock.now()); err != nil {
				t.Fatal(err)
			}
			if got := h.store.writes.Load() - before; got != int64(1-i) {
				t.Errorf("%d writes at the call no. %d", got, i+1)
			}
		}
		if got := h.record(d.ARN.Name).DueAt; !got.Equal(d.At) {
			t.Errorf("rescheduled to %v, not %v", got, d.At)
		}
	}
	targets("map[]")
	wantErr(t, h.Reschedule(ctx, secrets.ARN{Name: "nowhere"}, h.clock.now()), "ResourceNotFoundException", notFoundText)
}

func TestTheOldestIsDueFirst(t *testing.T) {
	h := open(t, service.Config{})
	for _, name := range []string{"b", "c", "a"} {
		h.create(name, "{}")
		c := claim(t, h, name)
		c.pending("")
		c.Release()
		h.clock.add(time.Second)
	}
	// Each has been unfinished since it began, whatever is written meanwhile.
	if err := h.TagResource(t.Context(), service.TagResourceInput{SecretID: "b", Tags: []service.Tag{{Key: "k"}}}); err != nil {
		t.Fatal(err)
	}
	ds, err := h.Due(t.Context(), h.clock.now(), service.DueAfter{}, 2)
	if err != nil || len(ds) != 2 || ds[0].ARN.Name != "b" || ds[1].ARN.Name != "c" || !ds[0].Unfinished {
		t.Errorf("got %+v, %v", ds, err)
	}
}

// TestFollowing: what the plan foretells is what comes, when every rotation
// succeeds at its time.
func TestFollowing(t *testing.T) {
	for _, schedule := range []string{"rate(3 days)", "rate(6 hours)", "cron(0 2 ? * MON,THU *)", "cron(0 1 L * ? *)"} {
		h := open(t, service.Config{})
		h.create("app", "value")
		if _, err := h.Declare(t.Context(), []service.Declaration{{Name: "app", Rules: secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: schedule}, Source: "file pawl.yaml:1"}}); err != nil {
			t.Fatal(err)
		}
		status := func() (out service.RotationStatus) {
			if err := h.Rotations(t.Context(), func(r service.RotationStatus) error { out = r; return nil }); err != nil {
				t.Fatal(err)
			}
			return out
		}
		first := status()
		until := h.clock.now().AddDate(1, 0, 0)
		foretold := h.Following(first, until, 5)
		if len(foretold) != 5 {
			t.Fatalf("%s: %d foretold", schedule, len(foretold))
		}
		for at, i := first.At, 0; ; i++ {
			h.clock.add(at.Sub(h.clock.now()))
			c, err := h.Claim(t.Context(), "app")
			if err != nil {
				t.Fatal(err)
			}
			id, err := c.PutPending(t.Context(), "", secrets.Text("value"))
			if err == nil {
				err = c.Promote(t.Context(), id, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Release()
			if i == len(foretold) {
				break
			}
			next := status()
			if !next.At.Equal(foretold[i].At.Truncate(time.Microsecond)) || !next.Window.Open.Equal(foretold[i].Window.Open) {
				t.Errorf("%s: number %d is at %v, foretold %v", schedule, i, next.At, foretold[i].At)
			}
			at = next.At
		}
		if got := h.Following(first, foretold[1].At, 100); len(got) != 2 {
			t.Errorf("%s: %d until the second", schedule, len(got))
		}
	}
}
