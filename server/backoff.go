package server

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// How answers to failed authentication are held back.
const (
	freeFailures = 20 // of one client, in a minute: a deployment with an old key, a person who mistypes
	failureSpan  = time.Minute
	firstDelay   = 100 * time.Millisecond // and twice as long for each further failure
	lastDelay    = 2 * time.Second
	maxDelayed   = 256  // answers at one time; further ones are given at once and end the connection
	maxClients   = 8192 // that are remembered
)

// backoff slows down clients that keep failing to authenticate, whom it tells
// apart by their address: IPv4's as a whole, of IPv6 the first 64 bits, which
// is what one site has. It delays the answers to failures and nothing else, so
// that a client with a broken key locks out nobody who shares its address. What
// it remembers is bounded; where more clients fail at once, those with the
// fewest failures are forgotten.
//
// One line per client and minute is logged of those it holds back.
type backoff struct {
	log *slog.Logger
	now func() time.Time

	most      int // clients
	mu        sync.Mutex
	clients   map[netip.Prefix]*client
	delayed   int
	next      *time.Timer // of the next report; nil = there is nothing to report
	stopped   chan struct{}
	isStopped bool
}

// client is one that failed.
type client struct {
	since    time.Time // the first failure's, of this minute
	failures int
}

func newBackoff(log *slog.Logger, now func() time.Time) *backoff {
	return &backoff{log: log, now: now, most: maxClients, clients: map[netip.Prefix]*client{}, stopped: make(chan struct{})}
}

// failed counts a failure of a client, and holds its answer back for as long as
// is due, ctx lasts and nobody calls stop. held reports that this was one too
// many in a minute; crowded that the answer should have been held back and
// could not be: the connection should end with it.
func (b *backoff) failed(ctx context.Context, remote string) (held, crowded bool) {
	delay, crowded := b.count(addressOf(remote))
	if delay == 0 || crowded {
		return delay > 0, crowded
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.stopped:
	}
	b.mu.Lock()
	b.delayed--
	b.mu.Unlock()
	return true, false
}

// count notes a failure. A delay that is not crowded takes a place among the
// delayed ones.
func (b *backoff) count(address netip.Prefix) (delay time.Duration, crowded bool) {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.clients[address]
	if c != nil && now.Sub(c.since) >= failureSpan {
		b.forget(address, c, now)
		c = nil
	}
	if c == nil {
		if len(b.clients) >= b.most {
			b.makeRoom(now)
		}
		c = &client{since: now}
		b.clients[address] = c
	}
	c.failures++
	if delay = delayOf(c.failures); delay == 0 {
		return 0, false
	}
	if b.next == nil && !b.isStopped {
		b.next = time.AfterFunc(failureSpan-now.Sub(c.since), b.report)
	}
	if b.delayed >= maxDelayed {
		return delay, true
	}
	b.delayed++
	return delay, false
}

// delayOf is how long the answer to the nth failure of a minute is held back.
func delayOf(n int) time.Duration {
	n -= freeFailures + 1
	switch {
	case n < 0:
		return 0
	case n > 10:
		return lastDelay
	}
	return min(firstDelay<<n, lastDelay)
}

// makeRoom forgets one of a few clients that a map yields first, which is at
// random: the one with the fewest failures.
func (b *backoff) makeRoom(now time.Time) {
	var least netip.Prefix
	var found *client
	n := 0
	for address, c := range b.clients {
		if now.Sub(c.since) >= failureSpan {
			b.forget(address, c, now)
			return
		}
		if found == nil || c.failures < found.failures {
			least, found = address, c
		}
		if n++; n == 8 {
			break
		}
	}
	b.forget(least, found, now)
}

// report forgets the clients whose minute is over, and comes again while some
// are held back.
func (b *backoff) report() {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = nil
	next := time.Duration(-1)
	for address, c := range b.clients {
		left := failureSpan - now.Sub(c.since)
		switch {
		case left <= 0 || b.isStopped:
			b.forget(address, c, now)
		case c.failures > freeFailures && (next < 0 || left < next):
			next = left
		}
	}
	if next > 0 {
		b.next = time.AfterFunc(next, b.report)
	}
}

// forget drops a client, and tells the log of one that was held back.
func (b *backoff) forget(address netip.Prefix, c *client, now time.Time) {
	delete(b.clients, address)
	if c.failures <= freeFailures {
		return
	}
	at := "unknown"
	switch {
	case address.IsSingleIP():
		at = address.Addr().String()
	case address.IsValid():
		at = address.String()
	}
	b.log.LogAttrs(context.Background(), slog.LevelWarn, "a client keeps failing to authenticate, and its answers are delayed; the lines before this say which access key it uses",
		slog.String("address", at), slog.Int("failures", c.failures), slog.Duration("within", min(now.Sub(c.since), failureSpan)))
}

// stop ends all delays, and logs what is left to be logged.
func (b *backoff) stop() {
	b.mu.Lock()
	if b.isStopped {
		b.mu.Unlock()
		return
	}
	b.isStopped = true
	close(b.stopped)
	if b.next != nil {
		b.next.Stop()
	}
	b.mu.Unlock()
	b.report()
}

// addressOf is what counts as one client; the zero Prefix stands for those that
// have no address.
func addressOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap(), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}
