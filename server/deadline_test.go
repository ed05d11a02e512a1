package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts how often the deadlines of a connection are moved.
type counted struct {
	net.Conn
	moves int
}

func (c *counted) SetReadDeadline(t time.Time) error  { c.moves++; return c.Conn.SetReadDeadline(t) }
func (c *counted) SetWriteDeadline(t time.Time) error { c.moves++; return c.Conn.SetWriteDeadline(t) }

// lazyPipe is a lazyConn and its other end, in a bubble with a clock of its own.
func lazyPipe(t *testing.T, test func(t *testing.T, c *lazyConn, under *counted, peer net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		under, peer := net.Pipe()
		defer peer.Close()
		n := &counted{Conn: under}
		c := newLazyConn(n)
		defer c.Close()
		test(t, c, n, peer)
	})
}

// after runs do and checks how long it takes and that it ends by a deadline.
func after(t *testing.T, want time.Duration, do func() error) {
	t.Helper()
	began := time.Now()
	err := do()
	if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != want {
		t.Errorf("error %v after %v instead of %v", err, took, want)
	}
}

func TestReadDeadlines(t *testing.T) {
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	long := time.Unix(1, 0)
	b := make([]byte, 8)
	for name, asked := range map[string]struct {
		ask  func(c *lazyConn)
		want time.Duration
	}{
		"one":            {func(c *lazyConn) { c.SetReadDeadline(in(time.Second)) }, time.Second},
		"a later one":    {func(c *lazyConn) { c.SetReadDeadline(in(time.Second)); c.SetReadDeadline(in(3 * time.Minute)) }, 3 * time.Minute},
		"an earlier one": {func(c *lazyConn) { c.SetReadDeadline(in(time.Minute)); c.SetReadDeadline(in(time.Second)) }, time.Second},
		"after none": {func(c *lazyConn) {
			c.SetReadDeadline(in(time.Second))
			c.SetReadDeadline(time.Time{})
			c.SetReadDeadline(in(time.Minute))
		}, time.Minute},
		"long ago": {func(c *lazyConn) { c.SetReadDeadline(in(time.Second)); c.SetReadDeadline(long) }, 0},
		"after one long ago": {func(c *lazyConn) {
			c.SetReadDeadline(long)
			c.SetReadDeadline(time.Time{})
			c.SetReadDeadline(in(3 * time.Minute))
		}, 3 * time.Minute},
		"a near one after one long ago": {func(c *lazyConn) {
			c.SetReadDeadline(long)
			c.SetReadDeadline(time.Time{})
			c.SetReadDeadline(in(time.Second))
		}, time.Second},
		"both": {func(c *lazyConn) { c.SetDeadline(in(time.Second)) }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			lazyPipe(t, func(t *testing.T, c *lazyConn, _ *counted, _ net.Conn) {
				asked.ask(c)
				after(t, asked.want, func() error { _, err := c.Read(b); return err })
			})
		})
	}
	t.Run("moved while somebody waits", func(t *testing.T) {
		lazyPipe(t, func(t *testing.T, c *lazyConn, _ *counted, _ net.Conn) {
			c.SetReadDeadline(in(time.Second))
			time.AfterFunc(500*time.Millisecond, func() { c.SetReadDeadline(in(time.Minute)) })
			after(t, 500*time.Millisecond+time.Minute, func() error { _, err := c.Read(b); return err })
			time.AfterFunc(time.Second, func() { c.SetReadDeadline(long) })
			c.SetReadDeadline(time.Time{})
			after(t, time.Second, func() error { _, err := c.Read(b); return err })
		})
	})
	t.Run("none", func(t *testing.T) {
		lazyPipe(t, func(t *testing.T, c *lazyConn, _ *counted, peer net.Conn) {
			c.SetReadDeadline(in(time.Second))
			c.SetReadDeadline(time.Time{})
			time.AfterFunc(time.Hour, func() { _, _ = peer.Write([]byte("late")) })
			if n, err := c.Read(b); string(b[:n]) != "late" || err != nil {
				t.Errorf("read %q, %v", b[:n], err)
			}
		})
	})
	t.Run("closed", func(t *testing.T) {
		lazyPipe(t, func(t *testing.T, c *lazyConn, _ *counted, peer net.Conn) {
			c.SetReadDeadline(in(time.Minute))
			time.AfterFunc(time.Second, func() { peer.Close() })
			if _, err := c.Read(b); err != io.EOF {
				t.Errorf("error %v", err)
			}
		})
	})
}

// What a slow reader takes in pieces arrives once, in order, until the deadline
// that is wanted.
func TestWriteDeadlines(t *testing.T) {
	lazyPipe(t, func(t *testing.T, c *lazyConn, _ *counted, peer net.Conn) {
		c.SetWriteDeadline(time.Now().Add(time.Second))
		c.SetWriteDeadline(time.Now().Add(time.Minute))
		sent := []byte("a text that is read a byte at a time, every seven seconds")
		var got []byte
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for b := make([]byte, 1); ; time.Sleep(7 * time.Second) {
				n, err := peer.Read(b)
				if got = append(got, b[:n]...); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		n, err := c.Write(sent)
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Minute {
			t.Errorf("error %v after %v", err, took)
		}
		c.Close()
		if <-ended; n != 9 || !bytes.Equal(got, sent[:n]) {
			t.Errorf("%d bytes are said to be written, %q was read", n, got)
		}
	})
}

// What net/http asks for each request moves a deadline twice.
func TestDeadlinesAreSeldomMoved(t *testing.T) {
	lazyPipe(t, func(t *testing.T, c *lazyConn, under *counted, peer net.Conn) {
		go func() {
			for range 100 {
				time.Sleep(10 * time.Millisecond)
				_, _ = peer.Write([]byte("request"))
			}
		}()
		b := make([]byte, 8)
		for range 100 {
			c.SetReadDeadline(time.Now().Add(idleTime))
			if _, err := c.Read(b); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Time{})
			c.SetReadDeadline(time.Now().Add(headerTime))
			c.SetReadDeadline(time.Now().Add(readTime))
			c.SetWriteDeadline(time.Now().Add(writeTime))
			woken := make(chan error)
			go func() { _, err := c.Read(b[:1]); woken <- err }()
			synctest.Wait()
			c.SetReadDeadline(time.Unix(1, 0))
			if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Time{})
		}
		if under.moves > 2*100+2 {
			t.Errorf("%d moves for 100 requests", under.moves)
		}
	})
}
