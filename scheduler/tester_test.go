package scheduler

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var _ service.Daemon = (*Scheduler)(nil)

const token = "11111111-2222-3333-4444-555555555555"

// rotate asks for a rotation through the API, or for its checks.
func (w *world) rotate(name string, now bool) {
	w.t.Helper()
	_, err := w.svc.RotateSecret(w.t.Context(), service.RotateSecretInput{
		SecretID: name, ClientRequestToken: token, RotateImmediately: &now,
		RotationLambdaARN: "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user",
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestRotationThroughTheAPI: what RotateSecret asks for is done without waiting
// for a second to go by.
func TestRotationThroughTheAPI(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 0, 0)
	w.svc.Attach(w.sched)
	w.create("db", "app")
	w.start()
	w.rotate("app", true)
	d := w.rotations(1)[0]
	if d.Err != nil || d.Result.Outcome != rotator.Rotated || d.Result.Version != token {
		t.Errorf("got %+v", d)
	}
	w.stop()
	w.serves("app")
	if sec := w.state("app"); sec.Versions.IDWith(secrets.Current) != token || sec.Versions.Unfinished() || sec.Rotation.LastRotated.IsZero() {
		t.Errorf("got %+v", sec)
	}
}

// TestPausedButAskedFor: the pause holds before and after, and not for it.
func TestPausedButAskedFor(t *testing.T) {
	w := newWorld(t, 0, 0)
	w.add(fourHours, "db", "app")
	if err := w.svc.Pause(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.at(5)
	w.scan()
	w.settle()
	w.idle()
	if _, err := w.svc.StartRotation(t.Context(), service.StartRotationInput{SecretID: "app", ClientRequestToken: token}); err != nil {
		t.Fatal(err)
	}
	w.scan()
	w.succeed(1)
	w.settle()
	w.at(12)
	w.scan()
	w.settle()
	w.idle()
}

func TestTests(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, tt := range map[string]struct {
		before func(w *world)
		want   []string
	}{
		"succeeds": {func(*world) {}, []string{"TestRotationSucceeded", "secret=app", "outcome=checked"}},
		"fails": {func(w *world) { w.servers.passwords["app"] = "another" },
			[]string{"TestRotationFailed", "secret=app", "kind=denied", "password refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, 0)
			w.svc.Attach(w.sched)
			w.create("db", "app")
			tt.before(w)
			before := w.state("app").Versions
			said := w.logged(tt.want...)
			w.start()
			w.rotate("app", false)
			receive(t, said)
			w.stop()
			sec := w.state("app")
			if fmt.Sprint(sec.Versions) != fmt.Sprint(before) || sec.Rotation.Attempt.Tries > 0 || w.servers.get(w.servers.sets, "app") > 0 {
				t.Errorf("it left a trace: %+v", sec)
			}
		})
	}
}

// TestATestBlocksNoRotation: one that was asked for while a test has the secret
// begins when the test ends, without waiting.
func TestATestBlocksNoRotation(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 0, 0)
	w.svc.Attach(w.sched)
	w.create("db", "app")
	thaw, testing := make(chan struct{}), make(chan string, 10)
	w.servers.script("db", inStep("check", testing, thaw))
	said := w.logged("another process is rotating it")
	w.start()
	w.rotate("app", false)
	receive(t, testing)
	w.rotate("app", true)
	receive(t, said)
	close(thaw)
	w.succeed(1)
	w.stop()
}

// TestStopEndsTests: what runs is cut off, what waits is dropped.
func TestStopEndsTests(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 0, 0)
	names := numbered("s", 2*testers)
	w.create("db", names...)
	entered := make(chan string, 100)
	w.servers.script("db", frozen(nil, entered))
	w.start()
	for _, n := range names {
		w.sched.Test(w.arns[n])
		w.sched.Test(w.arns[n]) // once is enough
	}
	for range testers {
		receive(t, entered)
	}
	if n := len(w.sched.tests.queue); n > 2*testers {
		t.Errorf("%d wait", n)
	}
	w.stop()
	if n := len(entered); n > 0 {
		t.Errorf("%d more began", n)
	}
	said := w.logged("TestRotationFailed", "the daemon is stopping")
	w.sched.Test(w.arns[names[0]])
	receive(t, said)
}

func TestTooManyTests(t *testing.T) {
	w := newWorld(t, 0, 0)
	w.create("db", "app")
	said := w.logged("TestRotationFailed", "too many tests wait already")
	tests := w.sched.tests
	tests.ctx = t.Context()
	for i := range maxTests {
		tests.queue = append(tests.queue, secrets.ARN{Name: fmt.Sprint(i)})
	}
	w.sched.Test(w.arns["app"])
	receive(t, said)
}

func TestCheck(t *testing.T) {
	w := newWorld(t, 0, 0)
	w.create("db", "app")
	outcome, err := w.sched.Check(t.Context(), w.arns["app"])
	if err != nil || outcome != string(rotator.Checked) {
		t.Errorf("%q, %v", outcome, err)
	}
	w.servers.passwords["app"] = "another"
	if _, err := w.sched.Check(t.Context(), w.arns["app"]); secrets.KindOf(err) != secrets.Denied {
		t.Error(err)
	}
}

func TestFollow(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, 0, 0)
	calls := make(chan time.Time, 10)
	w.sched.c.Follow = func(_ context.Context, now time.Time) error {
		calls <- now
		return errors.New("the disk is full")
	}
	said := w.logged("replicas could not be brought up to their primaries", "the disk is full")
	w.start()
	if now := receive(t, calls); !now.Equal(midnight) {
		t.Error(now)
	}
	receive(t, said)
	w.stop()
}
