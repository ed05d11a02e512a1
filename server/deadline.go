package server

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lazyConn is a connection whose deadlines cost next to nothing. net/http moves
// them five times for each request, always further on, and each time the runtime
// has to move a timer, which took as long as a quarter of what net/http does
// for a request. Here the connection keeps a deadline that is too early, and it is
// moved when it comes.
type lazyConn struct {
	net.Conn
	read, write deadline
}

func newLazyConn(c net.Conn) *lazyConn {
	return &lazyConn{Conn: c, read: deadline{set: c.SetReadDeadline}, write: deadline{set: c.SetWriteDeadline}}
}

// SetReadDeadline implements net.Conn.
func (c *lazyConn) SetReadDeadline(t time.Time) error { return c.read.ask(t) }

// SetWriteDeadline implements net.Conn.
func (c *lazyConn) SetWriteDeadline(t time.Time) error { return c.write.ask(t) }

// SetDeadline implements net.Conn.
func (c *lazyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.read.ask(t), c.write.ask(t))
}

// Read implements net.Conn.
func (c *lazyConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.read.passed() {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (c *lazyConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	for err != nil && errors.Is(err, os.ErrDeadlineExceeded) && !c.write.passed() {
		var more int
		more, err = c.Conn.Write(b[n:])
		n += more
	}
	return n, err
}

// deadline is one of the two of a connection.
type deadline struct {
	set func(time.Time) error // sets the connection's

	mu     sync.Mutex
	wanted time.Time // zero = none
	has    time.Time // the connection's: not after wanted, unless that is zero
}

// ask sets the deadline. The connection's is left alone if it is early enough.
func (d *deadline) ask(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if t.IsZero() || !d.has.IsZero() && !t.Before(d.has) {
		return nil
	}
	d.has = t
	return d.set(t)
}

// soon is how far off the connection's deadline is put after one long ago: no
// further than the next that net/http will want.
const soon = headerTime

// passed reports, when the connection's deadline has, whether the one that is
// wanted has too. If not, it gives the connection another.
func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if !d.wanted.IsZero() && !now.Before(d.wanted) {
		return true
	}
	next := d.wanted
	// net/http wakes a reader by a deadline long ago, for each request. One that
	// came in its time has found somebody who waits long.
	if early := now.Add(soon); now.Sub(d.has) > soon && (next.IsZero() || early.Before(next)) {
		next = early
	}
	d.has = next
	return d.set(next) != nil
}
