package sqlite

import (
	"context"
	"runtime"
	"sync"
)

// clockQuery reads the clock of the secrets alone, ticksQuery all of it.
const (
	clockQuery = "SELECT n FROM clock"
	ticksQuery = "SELECT n, settings FROM clock"
)

// ticks is what the database's clock shows: two numbers, of which one rises with
// every row of secrets that anybody writes, the other with every change of the
// settings.
type ticks struct{ secrets, settings int64 }

// clock reads the database's clock. Those who ask while it is being read share
// the next reading: each needs one that began after he asked, and thirty-two at
// once need no thirty-two.
type clock struct {
	read func() (ticks, error) // quick: it is not interrupted

	busy sync.Mutex // held while reading
	mu   sync.Mutex
	next *reading // has not begun; nil = nobody waits
}

type reading struct {
	done chan struct{} // closed when the two below are there
	at   ticks
	err  error
}

// now returns a reading that began after the call, or ctx's error.
func (c *clock) now(ctx context.Context) (ticks, error) {
	if err := ctx.Err(); err != nil {
		return ticks{}, err
	}
	c.mu.Lock()
	r := c.next
	first := r == nil
	if first {
		r = &reading{done: make(chan struct{})}
		c.next = r
	}
	c.mu.Unlock()
	if first { // who reads for all that join him before he begins
		c.busy.Lock()
		// Those who are about to ask get a chance to: on few processors a reading
		// is over before a second one has come, and nobody would ever share.
		runtime.Gosched()
		c.mu.Lock()
		c.next = nil
		c.mu.Unlock()
		r.at, r.err = c.read()
		c.busy.Unlock()
		close(r.done)
	}
	select {
	case <-r.done:
		return r.at, r.err
	case <-ctx.Done():
		return ticks{}, ctx.Err()
	}
}
