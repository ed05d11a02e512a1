package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

func (w *world) start() {
	w.t.Helper()
	if err := w.sched.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.sched.Stop(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func TestDaemon(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 0, 0)
	w.add(fourHours, "db", "app", "web")
	var steps sync.Map
	w.sched.c.OnEvent = func(e rotator.Event) { steps.Store(e.Secret+" "+e.Step, true) }
	w.at(5)
	w.start()
	if err := w.sched.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
	w.succeed(2) // at once: the first scan waits for no second to go by
	w.add(fourHours, "db", "late")
	w.at(10)
	// The trigger looks again every second of the clock. Until its timer is set
	// again the clock waits.
	for want := 3; want > 0; {
		select {
		case d := <-w.done:
			if d.Err != nil {
				t.Fatal(d.Err)
			}
			want--
		default:
			if err := w.clock.BlockUntilContext(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			w.clock.Advance(scanEvery)
		}
	}
	w.stop()
	w.stop() // twice does no harm
	w.serves("late")
	if _, ok := steps.Load("app " + rotator.SetSecret); !ok {
		t.Error("no events")
	}
}

// logged returns a channel that is closed when a log line holds all of the texts.
func (w *world) logged(texts ...string) <-chan struct{} {
	said := make(chan struct{})
	w.sched.pool.log = slog.New(slog.NewTextHandler(&locked{w: writer(func(b []byte) {
		for _, text := range texts {
			if !strings.Contains(string(b), text) {
				return
			}
		}
		close(said)
	})}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return said
}

func TestPurge(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, want := range map[string]string{"names": "secret=gone", "error": "and then the disk was full"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, 0)
			calls := make(chan time.Time, 10)
			w.sched.c.Purge = func(_ context.Context, now time.Time) ([]string, error) {
				calls <- now
				return []string{"gone"}, errors.New("and then the disk was full")
			}
			said := w.logged(want)
			w.start()
			if now := receive(t, calls); !now.Equal(midnight) {
				t.Error(now)
			}
			receive(t, said)
			w.stop()
		})
	}
}

func TestPanicInAJobIsLogged(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 0, 0)
	said := w.logged("panic in a scheduled job", "job=purge")
	w.sched.c.Purge = func(context.Context, time.Time) ([]string, error) { panic(errBoom) }
	w.start()
	receive(t, said)
	w.stop()
}

type writer func([]byte)

func (f writer) Write(b []byte) (int, error) { f(b); return len(b), nil }

// inStep is a script that reports who got to a step and holds him there, without
// regard to his context.
func inStep(step string, entered chan<- string, thaw <-chan struct{}) func(context.Context, string, string) error {
	return func(_ context.Context, name, s string) error {
		if s == step {
			entered <- name
			<-thaw
		}
		return nil
	}
}

func TestStopAtASafePoint(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 16, 4)
	thaw, setting, checking := make(chan struct{}), make(chan string, 1), make(chan string, 1)
	w.servers.script("a", inStep("set", setting, thaw))
	w.servers.script("b", frozen(nil, checking))
	w.add(fourHours, "a", "app")
	w.add(fourHours, "b", "web")
	w.add(fourHours, "c", numbered("more", 3)...)
	w.at(5)
	w.start()
	receive(t, setting)
	receive(t, checking)
	stopped := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		stopped <- w.sched.Stop(ctx)
	}()
	// web had changed nothing yet and gives up; app goes to its end.
	for {
		d := w.rotations(1)[0]
		if d.Secret.Name == "web" {
			if !errors.Is(d.Err, context.Canceled) {
				t.Errorf("%+v", d)
			}
			break
		}
	}
	select {
	case err := <-stopped:
		t.Fatalf("Stop did not wait: %v", err)
	default:
	}
	close(thaw)
	if err := receive(t, stopped); err != nil {
		t.Fatal(err)
	}
	w.serves("app")
	if s := w.state("app"); !s.Rotation.LastRotated.Equal(w.clock.Now()) || s.Versions.Unfinished() {
		t.Errorf("%+v", s)
	}
	if s := w.state("web"); s.Rotation.Attempt.Tries != 0 || s.Versions.Unfinished() {
		t.Errorf("being stopped is no failure: %+v", s)
	}
	w.free("app")
	w.free("web")
}

func TestStopNamesWhatStillRuns(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 16, 4)
	thaw, setting := make(chan struct{}), make(chan string, 2)
	w.servers.script("a", inStep("set", setting, thaw))
	w.add(fourHours, "a", "app", "web")
	w.at(5)
	w.start()
	receive(t, setting)
	receive(t, setting)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := w.sched.Stop(ctx)
	if err == nil || !strings.Contains(err.Error(), "app, web") {
		t.Fatal(err)
	}
	// A new start does not take them a second time.
	w.start()
	close(thaw)
	w.succeed(2)
	w.stop()
	if w.servers.sets["app"] != 1 || w.servers.sets["web"] != 1 {
		t.Errorf("%v", w.servers.sets)
	}
}

func TestPanicLeavesTheOthersAlone(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 2, 2)
	w.servers.script("bad", func(context.Context, string, string) error { panic(errBoom) })
	w.add(fourHours, "bad", numbered("bad", 20)...)
	w.add(fourHours, "db", numbered("app", 20)...)
	w.at(5)
	w.start()
	good := 0
	for _, d := range w.rotations(40) {
		switch {
		case d.Err == nil:
			good++
		case secrets.KindOf(d.Err) != secrets.Unknown || d.NextTry.IsZero():
			t.Errorf("%+v", d)
		}
	}
	if good != 20 {
		t.Errorf("%d rotated", good)
	}
	w.stop()
	w.free("bad00000")
}

func TestStartStopStress(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 4, 2)
	for _, h := range numbered("h", 5) {
		w.add(fourHours, h, numbered(h+"-", 10)...)
	}
	w.at(5)
	for i := range 50 {
		w.start()
		var aside sync.WaitGroup
		aside.Go(func() { w.sched.Scan(t.Context()) })
		aside.Go(func() { w.sched.Reconfigure(1+i%5, 1+i%3) })
		aside.Go(func() { w.clock.Advance(time.Second) })
		aside.Go(w.stop)
		aside.Wait()
		w.stop()
	}
	w.clock.Advance(maxQuiet) // a scan during which the clock moved rests
	w.start()
	for deadline := time.After(time.Minute); ; {
		left := 0
		for _, n := range w.names {
			if w.state(n).Rotation.LastRotated.IsZero() {
				left++
			}
		}
		if left == 0 {
			break
		}
		select {
		case <-w.done:
		case <-deadline:
			t.Fatalf("%d left", left)
		}
	}
	w.stop()
	for _, n := range w.names {
		w.serves(n)
		if got := w.servers.sets[n]; got != 1 {
			t.Errorf("%s was set %d times", n, got)
		}
	}
}
