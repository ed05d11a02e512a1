package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
)

const (
	// measureEvery is how often a Clock asks the database for the time.
	measureEvery = 10 * time.Second
	// measureTime bounds how long that may take: an answer that was long on its way
	// says little.
	measureTime = time.Second
)

// Clock shows the database's time. When a secret is due, and when a failed rotation
// is tried again, processes write down for each other, and so they must mean the
// same by it: what one with a fast clock had begun when it died would lie there until
// the others' clocks came to that.
//
// In between it counts by the clock that nobody sets, which stands still where the
// machine sleeps: then it is late for as long as it takes until it asks again. Its
// timers are the machine's. It is safe for use by many goroutines.
type Clock struct {
	clockwork.Clock // the machine's
	s               *Store

	mu     sync.Mutex
	there  time.Time // what the database's clock showed
	here   time.Time // and the machine's, at the same time
	asking bool
}

// Clock makes a Clock of the machine's. Errors: Transient, when the database does not
// answer.
func (s *Store) Clock(ctx context.Context, machine clockwork.Clock) (*Clock, error) {
	c := &Clock{Clock: machine, s: s}
	if err := s.retry(ctx, c.measure); err != nil {
		return nil, err
	}
	return c, nil
}

// measure asks the database for the time, and takes it that the answer was as long on
// its way as the question.
func (c *Clock) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	conn, err := c.s.pool.Acquire(ctx) // to wait for one must not count
	if err != nil {
		return c.s.classify(err)
	}
	defer conn.Release()
	var there time.Time
	sent := c.Clock.Now()
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there); err != nil {
		return c.s.classify(err)
	}
	took := c.Clock.Now().Sub(sent)
	if took > measureTime {
		return secrets.Errorf(secrets.Transient, "the store (%s) took %v to tell the time", c.s.name, took) // or this process was stopped
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.there, c.here = there.UTC(), sent.Add(took/2)
	return nil
}

// Now implements clockwork.Clock.
func (c *Clock) Now() time.Time {
	now := c.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	counted := now.Sub(c.here)
	if counted >= measureEvery && !c.asking {
		c.asking = true
		go c.again(now)
	}
	return c.there.Add(counted)
}

// again measures anew. Where that fails the old one goes on being good for as long.
func (c *Clock) again(now time.Time) {
	err := c.measure(c.s.alive)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking = false
	if err != nil {
		c.there, c.here = c.there.Add(now.Sub(c.here)), now
	}
}

// Since implements clockwork.Clock.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Until implements clockwork.Clock.
func (c *Clock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }
