package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// wrongClock is a store whose clock is ahead by a time; or which does not answer.
type wrongClock struct {
	by    time.Duration
	err   error
	asked chan struct{}
}

func (w wrongClock) Now(context.Context) (time.Time, error) {
	defer close(w.asked)
	return time.Now().Add(w.by), w.err
}

func TestWrongClock(t *testing.T) {
	for name, c := range map[string]struct {
		store wrongClock
		want  string // in the log; "" = nothing
	}{
		"right":     {wrongClock{}, ""},
		"a bit off": {wrongClock{by: 2 * time.Second}, ""},
		"behind":    {wrongClock{by: time.Hour}, "clock is 1h0m0s behind the database's; schedules and signatures go by this machine's"},
		"ahead":     {wrongClock{by: -time.Minute}, "clock is 1m0s ahead of the database's"},
		"no answer": {wrongClock{by: time.Hour, err: errors.New("not there")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.store.asked = make(chan struct{})
			var log strings.Builder
			stop := watchClock(t.Context(), c.store, slog.New(slog.NewTextHandler(&log, nil)))
			<-c.store.asked
			stop()
			if said := log.String(); (said != "") != (c.want != "") || !strings.Contains(said, c.want) {
				t.Errorf("the log: %s", said)
			}
		})
	}
	watchClock(t.Context(), struct{}{}, nil)() // a store in a file has no other clock
}
