//go:build chaos

package main

import (
	"os"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// wallClock is the clock of all that is given one here: as wrong as
// PAWL_CHAOS_SKEW says (10m, -90s). Only integration/chaos builds a program that
// has it.
var wallClock = sync.OnceValue(func() clockwork.Clock {
	by, err := time.ParseDuration(os.Getenv("PAWL_CHAOS_SKEW"))
	if err != nil {
		panic("PAWL_CHAOS_SKEW is no duration") // a test's mistake, and it must not run on without
	}
	return skewed{clockwork.NewRealClock(), by}
})

// skewed is a clock that runs as it should and shows another time.
type skewed struct {
	clockwork.Clock
	by time.Duration
}

func (s skewed) Now() time.Time                  { return s.Clock.Now().Add(s.by) }
func (s skewed) Since(t time.Time) time.Duration { return s.Now().Sub(t) }
func (s skewed) Until(t time.Time) time.Duration { return t.Sub(s.Now()) }
