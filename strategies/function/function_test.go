package function_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies/function"
)

var (
	_ rotator.Foreign = (*function.Rotation)(nil)
	_ function.Caller = (*function.Lambda)(nil)
	_ function.Caller = (*function.HTTP)(nil)
	_ function.Caller = (*function.Command)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = secrets.ARN{Partition: "aws", Region: "eu-west-1", Account: "123456789012", Name: "prod/db", Suffix: "AbCdEf"}

const (
	version = "11111111-2222-3333-4444-555555555555"
	body    = `{"Step":"setSecret","SecretId":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf","ClientRequestToken":"` + version + `"}`
)

var event = function.Event{Step: "setSecret", SecretID: secret.String(), ClientRequestToken: version}

// want fails the test unless err has the kind and the texts, and none of those
// that begin with "!". It is one line of bounded length.
func want(t *testing.T, err error, k secrets.Kind, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", k)
	}
	if got := secrets.KindOf(err); got != k {
		t.Errorf("kind %v, want %v: %v", got, k, err)
	}
	for _, text := range texts {
		if not, ok := strings.CutPrefix(text, "!"); ok == strings.Contains(err.Error(), not) {
			t.Errorf("the error and %q: %v", text, err)
		}
	}
	if s := err.Error(); strings.ContainsAny(s, "\n\r\x1b\x00") || len(s) > 1500 {
		t.Errorf("not a line: %d bytes %q", len(s), s)
	}
}

// caller is a Caller of a test's.
type caller struct {
	call  func(ctx context.Context, e function.Event) error
	check func(ctx context.Context) error
}

func (c caller) Call(ctx context.Context, e function.Event) error { return c.call(ctx, e) }
func (c caller) Check(ctx context.Context) error                  { return c.check(ctx) }

// holds are a secret's values, as the rotator reads them.
func holds(values []secrets.Value) func(context.Context) ([]secrets.Value, error) {
	return func(context.Context) ([]secrets.Value, error) { return values, nil }
}

var none = holds(nil)

func TestDoSaysWhatToDo(t *testing.T) {
	var got function.Event
	r := function.Rotation{Caller: caller{call: func(_ context.Context, e function.Event) error { got = e; return nil }}}
	if err := r.Do(t.Context(), "setSecret", secret, version, none); err != nil || got != event {
		t.Errorf("%v, told %+v", err, got)
	}
	if r.Timeout() != 15*time.Minute || (&function.Rotation{Limit: time.Minute}).Timeout() != time.Minute {
		t.Error("the limit is another one")
	}
}

func TestTimeLimit(t *testing.T) {
	clock := clockwork.NewFakeClock()
	hangs := func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("it hung: %w", ctx.Err())
	}
	r := function.Rotation{Limit: time.Minute, Clock: clock, Caller: caller{
		call:  func(ctx context.Context, _ function.Event) error { return hangs(ctx) },
		check: hangs,
	}}
	for what, limit := range map[string]struct {
		d time.Duration
		f func() error
	}{
		"do":    {time.Minute, func() error { return r.Do(t.Context(), "setSecret", secret, version, none) }},
		"check": {15 * time.Second, func() error { return r.Check(t.Context(), secret) }},
	} {
		done := make(chan error, 1)
		go func() { done <- limit.f() }()
		if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		clock.Advance(limit.d)
		if err := <-done; secrets.KindOf(err) != secrets.Transient || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whatever a Caller's error is made of, and wherever a value stands in it.
func TestNoValueInAnError(t *testing.T) {
	values := []secrets.Value{
		secrets.Text(`{"engine":"postgres","host":"db.example.com","username":"app","password":"hunter2-Ω\"x","port":5432,"nested":{"keys":["deep-one", 4711471147]}}`),
		secrets.Text("older-bare-value"),
		secrets.Binary([]byte{0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8}),
	}
	for _, leak := range []string{"hunter2-Ω\"x", `hunter2-\u03a9\"x`, "hunter2-%CE%A9%22x", "deep-one", "4711471147", "older-bare-value", "/wABAgMEBQYHCA"} {
		for what, err := range map[string]error{
			"plain":  fmt.Errorf("says %s here", leak),
			"kinds":  secrets.Errorf(secrets.Invalid, "says %s here", leak),
			"hint":   secrets.Errorf(secrets.Invalid, "says nothing").WithHint("look at %s here", leak),
			"nested": secrets.Errorf(secrets.Invalid, "outer: %w", secrets.Errorf(secrets.Denied, "says %s here", leak)),
			"text":   fmt.Errorf("around: %w", secrets.Errorf(secrets.Invalid, "says %s here", leak)),
		} {
			r := function.Rotation{Caller: caller{call: func(context.Context, function.Event) error { return err }}}
			got := r.Do(t.Context(), "setSecret", secret, version, holds(values))
			want(t, got, secrets.KindOf(err), "[redacted] here", "!"+leak)
			if t.Failed() {
				t.Fatalf("%s: %v", what, got)
			}
			var e *secrets.Error
			if errors.As(got, &e); e != nil && e.Err != nil && strings.Contains(fmt.Sprintf("%+v %#v", e.Err, e.Err), leak) {
				t.Errorf("%s: it is still in there", what)
			}
		}
	}
	harmless := secrets.Errorf(secrets.Denied, "app at db.example.com:5432 is not let in to postgres")
	r := function.Rotation{Caller: caller{call: func(context.Context, function.Event) error { return harmless }}}
	if got := r.Do(t.Context(), "setSecret", secret, version, holds(values)); got != error(harmless) {
		t.Errorf("changed for nothing: %v", got)
	}
}

// Where values can't be read nobody knows what to leave out.
func TestValuesThatCannotBeRead(t *testing.T) {
	_, l := newLambda(t, functionFails(`{"errorType":"ValueError","errorMessage":"it was hunter2"}`))
	r := function.Rotation{Caller: l}
	err := r.Do(t.Context(), "setSecret", secret, version, func(context.Context) ([]secrets.Value, error) {
		return nil, secrets.Errorf(secrets.Transient, "the store is busy")
	})
	want(t, err, secrets.Invalid, "the function "+functionARN+" failed; what it said is not shown", "the store is busy", "!hunter2", "!ValueError")
}
