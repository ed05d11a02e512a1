package scheduler

import (
	"strings"
	"testing"
	"time"
)

// TestPressure: one worker, and a server that takes its time.
func TestPressure(t *testing.T) {
	w := newWorld(t, 1, 1)
	thaw, entered := make(chan struct{}), make(chan string, 1000)
	w.servers.script("slow", frozen(thaw, entered))
	w.sched.c.Runner.Rotator.StepTimeout = 24 * time.Hour
	w.add(fourHours, "slow", numbered("a", 20)...)
	w.open()
	w.at(5)
	w.scan()
	receive(t, entered)
	warnings := func() int { return strings.Count(w.log.String(), "more is due than the workers can do") }
	pass := func(d time.Duration) {
		for range int(d / time.Second) {
			w.clock.Advance(time.Second)
			w.scan()
		}
	}
	// They have been late for long, but have not waited for a minute yet.
	pass(58 * time.Second)
	if n := warnings(); n != 0 {
		t.Fatalf("%d warnings", n)
	}
	pass(3 * time.Second)
	if n := warnings(); n != 1 {
		t.Fatalf("%d warnings", n)
	}
	for _, want := range []string{"due=20 ", "per_minute=0", "unknown: nothing was finished yet", "scheduler.workers (now 1)", "since=2025-03-01T04:"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("%q is not said: %s", want, lastLine(w.log.String()))
		}
	}
	pass(59 * time.Second)
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings", n)
	}
	pass(time.Second)
	if n := warnings(); n != 2 {
		t.Errorf("%d warnings", n)
	}
	if !strings.Contains(lastLine(w.log.String()), "what is due does not get less") {
		t.Error(lastLine(w.log.String()))
	}
	// Another worker does not help where the server's own limit is what they wait for.
	w.sched.Reconfigure(2, 1)
	pass(time.Minute)
	if !strings.Contains(lastLine(w.log.String()), "scheduler.per_target (now 1), for they wait for slow\"") {
		t.Error(lastLine(w.log.String()))
	}
	close(thaw)
	w.finish(20)
	over := "the workers are enough again"
	w.clock.Advance(calm - time.Second)
	w.scan()
	if strings.Contains(w.log.String(), over) {
		t.Error("over too soon")
	}
	w.clock.Advance(2 * time.Second)
	w.scan()
	w.scan()
	if n := strings.Count(w.log.String(), over); n != 1 {
		t.Errorf("it was said %d times that it is over", n)
	}
	pass(2 * time.Minute)
	if n := warnings(); n != 3 {
		t.Errorf("%d warnings", n)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// What was late for a moment only is no news.
func TestNoPressure(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.add(fourHours, "db", numbered("a", 20)...)
	w.open()
	w.at(7.5) // all are hours late
	w.scan()
	w.finish(20)
	for range 200 {
		w.clock.Advance(time.Second)
		w.scan()
	}
	for _, text := range []string{"more is due", "enough again"} {
		if strings.Contains(w.log.String(), text) {
			t.Errorf("%q was said", text)
		}
	}
}

func TestEstimate(t *testing.T) {
	at := func(minutes int, due int, finished int64) sample {
		return sample{midnight.Add(time.Duration(minutes) * time.Minute), due, finished}
	}
	tests := []struct {
		name    string
		samples []sample
		now     sample
		want    estimate
	}{
		{"the first, by what was finished", []sample{at(0, -1, 100)}, at(1, 600, 160), estimate{60, "10m0s"}},
		{"nothing finished", []sample{at(0, -1, 100)}, at(1, 600, 100), estimate{0, "unknown: nothing was finished yet"}},
		{"later, by what gets less: others work too", []sample{at(0, -1, 0), at(1, 700, 60)}, at(2, 600, 120), estimate{60, "6m0s"}},
		{"more becomes due than is done", []sample{at(0, -1, 0), at(1, 700, 60)}, at(3, 710, 180), estimate{60, "never at this rate: what is due does not get less"}},
		{"over the last minutes", []sample{at(1, 1000, 60), at(2, 960, 60)}, at(6, 500, 1060), estimate{200, "5m0s"}},
		{"more than is counted", []sample{at(0, -1, 0)}, at(1, mostCounted, 1000), estimate{1000, "more than 1h40m0s"}},
		{"more than was counted", []sample{at(0, -1, 0), at(1, mostCounted, 1000)}, at(2, 99_000, 2000), estimate{1000, "1h39m0s"}},
	}
	for _, tt := range tests {
		p := pressure{samples: tt.samples}
		if got := p.estimate(tt.now); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	var p pressure
	for m := range 30 {
		p.add(at(m, m, 0))
	}
	if n := len(p.samples); n < 5 || n > 7 {
		t.Errorf("%d samples are kept", n)
	}
}
