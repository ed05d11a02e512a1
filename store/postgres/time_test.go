package postgres

import (
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

// TestClock: whatever the machine's clock shows, the Clock shows the database's time,
// goes on by the machine's, and asks again after a while.
func TestClock(t *testing.T) {
	l := at(t, servers.Postgres15)
	s := l.open(t, l.database(t))
	// The server is on this machine, so its clock is this test's own.
	right := func(c *Clock, off time.Duration) bool {
		return c.Until(time.Now().Add(off)).Abs() < 2*time.Second
	}
	for _, wrong := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
		machine := clockwork.NewFakeClockAt(time.Now().Add(wrong))
		c, err := s.Clock(t.Context(), machine)
		if err != nil {
			t.Fatal(err)
		}
		if !right(c, 0) {
			t.Errorf("the machine's clock is wrong by %v: it shows %v", wrong, c.Now())
		}
		machine.Advance(8 * time.Second)
		if !right(c, 8*time.Second) {
			t.Errorf("it does not go on: it shows %v", c.Now())
		}
		machine.Advance(measureEvery)
		for deadline := time.Now().Add(10 * time.Second); !right(c, 0); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not ask again: it shows %v", c.Now())
			}
		}
	}
	machine := clockwork.NewFakeClockAt(time.Now().Add(time.Hour))
	c, err := s.Clock(t.Context(), machine)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	machine.Advance(measureEvery)
	if !right(c, measureEvery) {
		t.Errorf("without the database it shows %v", c.Now())
	}
	if _, err := s.Clock(t.Context(), machine); secrets.KindOf(err) == secrets.Denied || err == nil {
		t.Errorf("of a closed store: %v", err)
	}
}
