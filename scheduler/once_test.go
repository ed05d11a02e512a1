package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func one(t *testing.T) *world {
	w := newWorld(t, 0, 0)
	w.add(fourHours, "db", "app")
	return w
}

// free wants that the claim on the secret was released.
func (w *world) free(name string) {
	w.t.Helper()
	c, err := w.runner.Plan.Claim(w.t.Context(), name)
	if err != nil {
		w.t.Fatalf("still claimed: %v", err)
	}
	c.Release()
}

func TestOnceRotates(t *testing.T) {
	w := one(t)
	res, err := w.runner.Once(t.Context(), "app", rotator.Options{})
	if err != nil || res.Outcome != rotator.Rotated {
		t.Fatalf("%+v, %v", res, err)
	}
	w.serves("app")
	w.free("app")
	if w.servers.sets["app"] != 1 {
		t.Errorf("set %d times", w.servers.sets["app"])
	}
}

func TestOnceKeepsARecord(t *testing.T) {
	w := one(t)
	w.servers.script("db", down)
	for try := 1; try <= 3; try++ {
		if _, err := w.runner.Once(t.Context(), "app", rotator.Options{}); secrets.KindOf(err) != secrets.Transient {
			t.Fatal(err)
		}
		a := w.state("app").Rotation.Attempt
		if a.Tries != try || a.Kind != secrets.Transient || !a.FailingSince.Equal(midnight) || !strings.Contains(a.LastError, "connection refused") {
			t.Errorf("%+v", a)
		}
		w.free("app")
		w.clock.Advance(time.Second)
	}
	w.servers.script("db", nil)
	if _, err := w.runner.Once(t.Context(), "app", rotator.Options{}); err != nil {
		t.Fatal(err)
	}
	if a := w.state("app").Rotation.Attempt; a != (secrets.Attempt{}) {
		t.Errorf("not cleared: %+v", a)
	}
}

func TestOnceClearsTheRecordAtRest(t *testing.T) {
	w := one(t)
	w.servers.script("db", down)
	w.runner.Once(t.Context(), "app", rotator.Options{})
	res, err := w.runner.Once(t.Context(), "app", rotator.Options{ResumeOnly: true})
	if err != nil || res.Outcome != rotator.AtRest {
		t.Fatalf("%+v, %v", res, err)
	}
	if a := w.state("app").Rotation.Attempt; a != (secrets.Attempt{}) {
		t.Errorf("not cleared: %+v", a)
	}
}

func TestOnceKeepsNoRecord(t *testing.T) {
	t.Run("of a dry run", func(t *testing.T) {
		w := one(t)
		w.servers.script("db", down)
		if _, err := w.runner.Once(t.Context(), "app", rotator.Options{DryRun: true}); secrets.KindOf(err) != secrets.Transient {
			t.Fatal(err)
		}
		w.wantNoRecord()
	})
	t.Run("of a conflict", func(t *testing.T) {
		w := one(t)
		w.servers.script("db", w.putByHand)
		if _, err := w.runner.Once(t.Context(), "app", rotator.Options{}); secrets.KindOf(err) != secrets.Conflict {
			t.Fatal(err)
		}
		w.wantNoRecord()
	})
	t.Run("of a cancelled run", func(t *testing.T) {
		w := one(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		w.servers.script("db", func(ctx context.Context, _, _ string) error {
			cancel(errBoom)
			return ctx.Err()
		})
		if _, err := w.runner.Once(ctx, "app", rotator.Options{}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		w.wantNoRecord()
	})
}

func (w *world) wantNoRecord() {
	w.t.Helper()
	w.free("app")
	if a := w.state("app").Rotation.Attempt; a != (secrets.Attempt{}) {
		w.t.Errorf("a record: %+v", a)
	}
}

// putByHand is a script that puts a new AWSCURRENT while a rotation checks.
func (w *world) putByHand(ctx context.Context, name, step string) error {
	if step != "check" {
		return nil
	}
	w.clock.Advance(time.Microsecond)
	token := fmt.Sprintf("%032d", w.clock.Now().UnixNano())
	c, _, err := w.svc.Credentials(ctx, name)
	if err == nil {
		_, err = w.svc.PutSecretValue(ctx, service.PutSecretValueInput{
			SecretID: name, ClientRequestToken: token, GivenValue: service.Give(c.Value())})
	}
	return err
}

func TestOnceSavesAndReleasesAfterTheContextEnded(t *testing.T) {
	w := one(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.servers.script("db", func(ctx context.Context, s, step string) error {
		if step == "set" {
			cancel()
			return down(ctx, s, step)
		}
		return nil
	})
	if _, err := w.runner.Once(ctx, "app", rotator.Options{}); secrets.KindOf(err) != secrets.Transient {
		t.Fatal(err)
	}
	w.free("app")
	if a := w.state("app").Rotation.Attempt; a.Tries != 1 {
		t.Errorf("%+v", a)
	}
}

func TestOncePanic(t *testing.T) {
	for name, p := range map[string]func(){
		"value":   func() { panic("the password is hunter2") },
		"error":   func() { panic(errors.New("hunter2")) },
		"runtime": func() { _ = []string{"hunter2"}[len(t.Name())] },
	} {
		t.Run(name, func(t *testing.T) {
			w := one(t)
			w.servers.script("db", func(_ context.Context, _, step string) error {
				if step == "set" {
					p()
				}
				return nil
			})
			_, err := w.runner.Once(t.Context(), "app", rotator.Options{})
			if secrets.KindOf(err) != secrets.Unknown || !strings.Contains(err.Error(), `secret "app"`) || !strings.Contains(err.Error(), "panic") {
				t.Fatal(err)
			}
			w.free("app")
			a := w.state("app").Rotation.Attempt
			if a.Tries != 1 {
				t.Errorf("%+v", a)
			}
			if strings.Contains(err.Error()+a.LastError+w.log.String(), "hunter2") {
				t.Error("the panic's value shows")
			}
			if !strings.Contains(w.log.String(), "once_test.go") {
				t.Error("no stack in the log")
			}
			w.servers.script("db", nil)
			if res, err := w.runner.Once(t.Context(), "app", rotator.Options{ResumeOnly: true}); err != nil || res.Outcome != rotator.Resumed {
				t.Errorf("%+v, %v", res, err)
			}
			w.serves("app")
		})
	}
}

type ended struct {
	res rotator.Result
	err error
}

// untilDone runs UntilDone aside; notes gets what Notify was told.
func (w *world) untilDone(ctx context.Context) (end chan ended, notes chan time.Duration) {
	end, notes = make(chan ended, 1), make(chan time.Duration, 100)
	w.runner.Notify = func(_ string, _ error, wait time.Duration) { notes <- wait }
	go func() {
		res, err := w.runner.UntilDone(ctx, "app", rotator.Options{})
		end <- ended{res, err}
	}()
	return end, notes
}

func TestUntilDoneRetries(t *testing.T) {
	w := one(t)
	w.servers.script("db", down)
	end, notes := w.untilDone(t.Context())
	for n := range 4 {
		wait := receive(t, notes)
		if want := soon(nil).Delay(n, 0.5); wait != want {
			t.Errorf("wait %d: %v, want %v", n, wait, want)
		}
		if err := w.clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.free("app") // the wait is outside of the claim
		if n == 3 {
			w.servers.script("db", nil)
		}
		w.clock.Advance(wait)
	}
	if e := receive(t, end); e.err != nil || e.res.Outcome != rotator.Rotated {
		t.Fatalf("%+v", e)
	}
	if n := w.servers.get(w.servers.contacts, "db"); n != 5 {
		t.Errorf("%d tries", n)
	}
}

func TestUntilDoneGivesUpAtOnce(t *testing.T) {
	for name, kind := range map[string]secrets.Kind{"denied": secrets.Denied, "invalid": secrets.Invalid} {
		t.Run(name, func(t *testing.T) {
			w := one(t)
			w.servers.script("db", func(context.Context, string, string) error { return secrets.Errorf(kind, "no") })
			end, notes := w.untilDone(t.Context())
			if e := receive(t, end); secrets.KindOf(e.err) != kind || strings.Contains(e.err.Error(), "tries") {
				t.Fatal(e.err)
			}
			if len(notes) != 0 || w.servers.contacts["db"] != 1 {
				t.Error("tried again")
			}
		})
	}
	t.Run("claimed by another", func(t *testing.T) {
		w := one(t)
		c, err := w.runner.Plan.Claim(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
		end, notes := w.untilDone(t.Context())
		if e := receive(t, end); secrets.KindOf(e.err) != secrets.Conflict {
			t.Fatal(e.err)
		}
		if len(notes) != 0 {
			t.Error("tried again")
		}
	})
	t.Run("no such secret", func(t *testing.T) {
		w := newWorld(t, 0, 0)
		end, _ := w.untilDone(t.Context())
		if e := receive(t, end); secrets.CodeOf(e.err) != "ResourceNotFoundException" {
			t.Fatal(e.err)
		}
	})
}

func TestUntilDoneStartsOverWhenLabelsMove(t *testing.T) {
	w := one(t)
	w.servers.script("db", w.putByHand)
	end, notes := w.untilDone(t.Context())
	for range maxMoved {
		wait := receive(t, notes)
		if err := w.clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(wait)
	}
	if e := receive(t, end); secrets.KindOf(e.err) != secrets.Conflict {
		t.Fatal(e.err)
	}
	if n := w.servers.contacts["db"]; n != 1+maxMoved {
		t.Errorf("%d tries", n)
	}
}

func TestUntilDoneKeepsTheRealError(t *testing.T) {
	t.Run("while waiting", func(t *testing.T) {
		w := one(t)
		w.servers.script("db", down)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		end, _ := w.untilDone(ctx)
		e := receive(t, end)
		if secrets.KindOf(e.err) != secrets.Transient || !strings.Contains(e.err.Error(), "time ran out: ") || !strings.Contains(e.err.Error(), "connection refused") {
			t.Fatal(e.err)
		}
	})
	t.Run("while trying", func(t *testing.T) {
		w := one(t)
		ctx, cancel := context.WithCancel(t.Context())
		w.servers.script("db", func(ctx context.Context, s, step string) error {
			if w.servers.get(w.servers.contacts, "db") == 2 {
				cancel()
				return ctx.Err()
			}
			return secrets.Errorf(secrets.Unknown, "the line broke")
		})
		end, notes := w.untilDone(ctx)
		wait := receive(t, notes)
		if err := w.clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(wait)
		e := receive(t, end)
		if secrets.KindOf(e.err) != secrets.Unknown || !strings.Contains(e.err.Error(), "stopped: ") || !strings.Contains(e.err.Error(), "the line broke") {
			t.Fatal(e.err)
		}
	})
	t.Run("ended from the start", func(t *testing.T) {
		w := one(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		end, _ := w.untilDone(ctx)
		if e := receive(t, end); secrets.KindOf(e.err) != secrets.Transient {
			t.Fatal(e.err)
		}
	})
}

// TestDueUntilDone: what a daemon rotated between the look at the plan and the
// claim is not rotated a second time.
func TestDueUntilDone(t *testing.T) {
	w := one(t)
	w.clock.Advance(5 * time.Hour)
	now := w.clock.Now()
	w.clock.Advance(10 * time.Minute) // into the hour's window, past the jitter
	var d service.Due
	for d.At.IsZero() {
		due, err := w.runner.Plan.Due(t.Context(), w.clock.Now(), service.DueAfter{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(due) == 1 && !due[0].At.After(w.clock.Now()) {
			d = due[0]
		} else if w.clock.Now().Sub(now) > 48*time.Hour {
			t.Fatal("it never is due")
		}
		w.clock.Advance(time.Minute)
	}
	res, err := w.runner.DueUntilDone(t.Context(), d, rotator.Options{})
	if err != nil || res.Outcome != rotator.Rotated {
		t.Fatalf("%+v, %v", res, err)
	}
	res, err = w.runner.DueUntilDone(t.Context(), d, rotator.Options{})
	if err != nil || res.Outcome != rotator.AtRest {
		t.Fatalf("the second: %+v, %v", res, err)
	}
	if n := w.servers.sets["app"]; n != 1 {
		t.Errorf("set %d times", n)
	}
}
