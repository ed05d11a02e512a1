package lambda

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// acting is an event that does what a test says.
type acting struct {
	f func(ctx context.Context, w *work) (any, error)
}

func (a acting) do(ctx context.Context, w *work) (any, error) { return a.f(ctx, w) }
func (acting) late(*work) error                               { return outOfTime("prod/app", "setSecret", invokeAgain) }
func (acting) about() []any                                   { return []any{"secret", "prod/app"} }

func handle(t *testing.T, within time.Duration, f func(ctx context.Context, w *work) (any, error)) (any, messages.InvokeResponse_Error, string) {
	t.Helper()
	var out bytes.Buffer
	h := New(Config{Rotator: &rotator.Rotator{Clock: clockwork.NewRealClock()}, Log: slog.New(slog.NewJSONHandler(&out, nil))})
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	answer, err := h.do(ctx, h.Log, acting{f})
	var e messages.InvokeResponse_Error
	if err != nil && !errors.As(err, &e) {
		t.Errorf("%T is no error of Lambda's", err)
	}
	return answer, e, out.String()
}

// TestLate: what does not stop is left behind with an answer, and the process
// with it.
func TestLate(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	began := time.Now()
	_, err, log := handle(t, 300*time.Millisecond, func(context.Context, *work) (any, error) {
		<-hang
		return nil, nil
	})
	if took := time.Since(began); took >= 300*time.Millisecond {
		t.Errorf("the answer came after %v", took)
	}
	want := `secret "prod/app": setSecret: the invocation's time ran out before this ended; the labels keep where the rotation is; invoke the function again; give the function a longer time-out if that happens often`
	if err.Type != "Transient" || err.Message != want || !err.ShouldExit {
		t.Errorf("%+v", err)
	}
	if !strings.Contains(log, `"errorType":"Transient"`) || !strings.Contains(log, `"secret":"prod/app"`) {
		t.Error(log)
	}
}

// TestPanic: a bug ends one invocation, and its text may be a password.
func TestPanic(t *testing.T) {
	_, err, log := handle(t, time.Minute, func(context.Context, *work) (any, error) { panic("c4n4ry") })
	if err.Type != "Unknown" || !strings.Contains(err.Message, "a bug stopped the invocation: panic: string") || err.ShouldExit {
		t.Errorf("%+v", err)
	}
	if strings.Contains(err.Message+log, "c4n4ry") || !strings.Contains(log, `"stack"`) {
		t.Error(log)
	}
}

// TestTimes: what there is time for.
func TestTimes(t *testing.T) {
	for _, c := range []struct {
		name          string
		left, reserve time.Duration
		stop, step    time.Duration // from now
	}{
		{"AWS's longest", 15 * time.Minute, 0, 15*time.Minute - 10*time.Second, 30 * time.Second},
		{"a usual one", 60 * time.Second, 0, 50 * time.Second, 15 * time.Second},
		{"the console's", 3 * time.Second, 0, 2 * time.Second, leastStep},
		{"the operator's", 60 * time.Second, 20 * time.Second, 40 * time.Second, 15 * time.Second},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.left)
		got := New(Config{Reserve: c.reserve}).times(ctx)
		near := func(what string, got, want time.Duration) {
			if d := got - want; d < -500*time.Millisecond || d > 500*time.Millisecond {
				t.Errorf("%s: %s %v, want %v", c.name, what, got, want)
			}
		}
		near("stop", time.Until(got.stop), c.stop)
		near("step", got.step, c.step)
		cancel()
	}
	if got := New(Config{}).times(context.Background()); !got.stop.IsZero() || got.late != nil {
		t.Error("without a deadline there is time")
	}
}

// TestStepTimeout: a step gets a part of the time there is, and never more than
// it may take anyway.
func TestStepTimeout(t *testing.T) {
	for _, c := range []struct{ set, left, want time.Duration }{
		{0, 40 * time.Second, 10 * time.Second},
		{5 * time.Second, 40 * time.Second, 5 * time.Second},
		{0, 15 * time.Minute, rotator.DefaultStepTimeout},
	} {
		w := &work{h: New(Config{Rotator: &rotator.Rotator{StepTimeout: c.set}}), times: times{step: min(c.left/4, rotator.DefaultStepTimeout)}}
		if got := w.rotator().StepTimeout; got != c.want {
			t.Errorf("%v of %v: %v, want %v", c.set, c.left, got, c.want)
		}
		if w.h.Rotator.StepTimeout != c.set {
			t.Error("the Rotator itself was changed")
		}
	}
}

// TestResumable: who is told that the time was over.
func TestResumable(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		kind secrets.Kind
		want bool
	}{
		{over, secrets.Transient, true}, {over, secrets.Unknown, true},
		{over, secrets.Denied, false}, {over, secrets.Invalid, false}, {over, secrets.Conflict, false},
		{t.Context(), secrets.Transient, false},
	} {
		f := failure(resumable(c.ctx, secrets.Errorf(c.kind, "x"), invokeAgain))
		if got := strings.Contains(f.Message, "the labels keep"); got != c.want || f.Type != typeOf(c.kind) {
			t.Errorf("%v: %+v", c.kind, f)
		}
	}
	if resumable(over, nil, invokeAgain) != nil {
		t.Error("nothing failed")
	}
}
