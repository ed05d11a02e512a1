package sqlite

import (
	"context"
	"runtime"
	"sync"
)

const clockQuery = "SELECT n FROM clock"

// clock reads the database's clock, which rises with every row that anybody
// writes. Those who ask while it is being read share the next reading: each
// needs one that began after he asked, and thirty-two at once need no
// thirty-two.
type clock struct {
	read func() (int64, error) // quick: it is not interrupted

	busy sync.Mutex // held while reading
	mu   sync.Mutex
	next *reading // has not begun; nil = nobody waits
}

type reading struct {
	done chan struct{} // closed when n and err are there
	n    int64
	err  error
}

// now returns a reading that began after the call, or ctx's error.
func (c *clock) now(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
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
		r.n, r.err = c.read()
		c.busy.Unlock()
		close(r.done)
	}
	select {
	case <-r.done:
		return r.n, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
