// Package link is a network cable to pull: a TCP proxy on loopback whose
// connections can be slowed, cut for a while and watched.
//
// A cut is what a lost route is, not a reset: what was sent into it arrives when
// it ends, however late, and so does the news that somebody has hung up.
package link

import (
	"net"
	"sync"
	"time"
)

// Gate is what connections go through. The zero Gate lets everything pass at once.
type Gate struct {
	mu    sync.Mutex
	cut   chan struct{} // closed when the cut ends; nil = none
	delay time.Duration
	watch Watch
}

// Watch sees what one side has sent before it goes on, and may block to hold it.
// What it returns false for goes nowhere.
type Watch func(fromClient bool, b []byte) (pass bool)

// Cut holds everything back until Heal.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut == nil {
		g.cut = make(chan struct{})
	}
}

// Heal ends a Cut, and what was held goes on.
func (g *Gate) Heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut != nil {
		close(g.cut)
		g.cut = nil
	}
}

// Slow has everything take so long, each way.
func (g *Gate) Slow(delay time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delay = delay
}

// Watch has w see everything from now on; nil = nobody.
func (g *Gate) Watch(w Watch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watch = w
}

func (g *Gate) now() (cut chan struct{}, delay time.Duration, w Watch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cut, g.delay, g.watch
}

// wait waits while the gate is cut; false = the link was closed meanwhile.
func (g *Gate) wait(done <-chan struct{}) bool {
	for {
		cut, _, _ := g.now()
		if cut == nil {
			return true
		}
		select {
		case <-cut:
		case <-done:
			return false
		}
	}
}

// Link listens, and connects whoever comes to one server.
type Link struct {
	listener net.Listener
	to       string
	gate     func(client net.Conn) *Gate
	joined   func(server net.Conn, g *Gate)
	done     chan struct{}
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// New makes a link to a server on a free port of 127.0.0.1. gate says through what
// a client goes, nil for one that is gone already; joined, where not nil, is told
// of each connection to the server.
func New(to string, gate func(client net.Conn) *Gate, joined func(server net.Conn, g *Gate)) (*Link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &Link{listener: l, to: to, gate: gate, joined: joined, done: make(chan struct{}), conns: map[net.Conn]bool{}}
	k.wait.Go(k.accept)
	return k, nil
}

// Port is the one that clients connect to.
func (k *Link) Port() int { return k.listener.Addr().(*net.TCPAddr).Port }

// Close ends the link and everything that goes through it, at once.
func (k *Link) Close() {
	close(k.done)
	k.listener.Close()
	k.mu.Lock()
	for c := range k.conns {
		c.Close()
	}
	k.mu.Unlock()
	k.wait.Wait()
}

func (k *Link) accept() {
	for {
		client, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.wait.Go(func() {
			if k.keep(client) {
				k.connect(client)
			}
			k.drop(client)
		})
	}
}

// keep remembers a connection for Close; false = the link is closed.
func (k *Link) keep(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.done:
		return false
	default:
		k.conns[c] = true
		return true
	}
}

func (k *Link) drop(c net.Conn) {
	c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

func (k *Link) connect(client net.Conn) {
	g := k.gate(client)
	if g == nil || !g.wait(k.done) {
		return
	}
	server, err := net.Dial("tcp", k.to)
	if err != nil {
		return
	}
	if k.joined != nil {
		k.joined(server, g)
	}
	defer k.drop(server)
	if !k.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { k.pump(g, client, server, true) })
	both.Go(func() { k.pump(g, server, client, false) })
	both.Wait()
}

// chunk is what was read at one time, and when it is to arrive.
type chunk struct {
	bytes []byte
	at    time.Time
}

// pump carries one direction. When one side ends, the other hears that it does, in
// order, and may still send.
func (k *Link) pump(g *Gate, from, to net.Conn, fromClient bool) {
	way := make(chan chunk, 64)
	broken := make(chan struct{})
	go func() {
		defer close(way)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				_, delay, watch := g.now()
				if watch != nil && !watch(fromClient, buf[:n]) {
					continue
				}
				select {
				case way <- chunk{buf[:n], time.Now().Add(delay)}:
				case <-broken:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	whole := true
	for c := range way {
		if !whole {
			continue
		}
		select {
		case <-time.After(time.Until(c.at)):
		case <-k.done:
		}
		if !g.wait(k.done) {
			whole = false
		} else if _, err := to.Write(c.bytes); err != nil {
			whole = false
		}
		if !whole {
			close(broken) // what else comes is seen, and goes nowhere
		}
	}
	g.wait(k.done)
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // it may be closed already
	}
}
