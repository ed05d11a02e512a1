package sqlite

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
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

// clock reads the database's clock. While header says that nobody has committed
// anything since the last reading, that reading is as good as a new one.
//
// Those who ask while it is being read share the next reading: each needs one
// that began after he asked, and thirty-two at once need no thirty-two.
type clock struct {
	read   func() (ticks, error)    // quick: it is not interrupted
	header func() (walHeader, bool) // nil = there is none
	last   atomic.Pointer[dated]

	busy sync.Mutex // held while reading
	mu   sync.Mutex
	next *reading // has not begun; nil = nobody waits
}

type reading struct {
	done chan struct{} // closed when the two below are there
	at   ticks
	err  error
}

// dated is a reading that began when the header was this.
type dated struct {
	header walHeader
	at     ticks
}

// now returns a reading that began after the call, or one that is the same, or
// ctx's error.
func (c *clock) now(ctx context.Context) (ticks, error) {
	if err := ctx.Err(); err != nil {
		return ticks{}, err
	}
	if last := c.last.Load(); last != nil {
		if h, ok := c.header(); ok && h == last.header {
			return last.at, nil
		}
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
		r.at, r.err = c.dated()
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

// dated reads the clock, and keeps the reading. The header is read first: a commit
// in between makes the reading newer than its header, never older.
func (c *clock) dated() (ticks, error) {
	if c.header == nil {
		return c.read()
	}
	h, ok := c.header()
	at, err := c.read()
	if err == nil && ok {
		c.last.Store(&dated{h, at})
	} else {
		c.last.Store(nil)
	}
	return at, err
}
