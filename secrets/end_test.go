package secrets_test

import (
	"context"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

func TestEndOf(t *testing.T) {
	now := time.Now()
	end := now.Add(8 * time.Second)
	claimed := secrets.EndingAt(t.Context(), func() time.Time { return end })
	timeout := func(ctx context.Context, d time.Duration) context.Context {
		ctx, cancel := context.WithDeadline(ctx, now.Add(d))
		t.Cleanup(cancel)
		return ctx
	}
	want := func(ctx context.Context, d time.Duration) {
		t.Helper()
		if got, ok := secrets.EndOf(ctx); !ok || got.Sub(now) != d {
			t.Errorf("it ends after %v, %t, instead of %v", got.Sub(now), ok, d)
		}
	}
	if end, ok := secrets.EndOf(t.Context()); ok {
		t.Errorf("what has no end ends at %v", end)
	}
	short, long := timeout(claimed, 5*time.Second), timeout(claimed, time.Minute)
	within := secrets.EndingAt(timeout(claimed, 30*time.Second), func() time.Time { return now.Add(20 * time.Second) })
	want(claimed, 8*time.Second)
	want(short, 5*time.Second)
	want(long, 8*time.Second)
	want(within, 8*time.Second)
	want(context.WithoutCancel(short), 8*time.Second)
	end = now.Add(10 * time.Minute) // put off
	want(claimed, 10*time.Minute)
	want(short, 5*time.Second)
	want(long, time.Minute)
	want(within, 20*time.Second)
	if at, ok := long.Deadline(); !ok || at.Sub(now) != time.Minute {
		t.Error("a timeout longer than the claim has no deadline of its own")
	}
}
