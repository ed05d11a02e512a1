package postgres

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
)

// gate is a proxy to a server, for tests that break connections.
type gate struct {
	port int
	deaf bool // who would listen is cut off; set before anybody comes

	mu     sync.Mutex
	shut   bool // every connection is closed at once
	losing bool // the next answer is lost, and its connection
	lost   chan struct{}
	hung   map[net.Conn]bool // through which nothing comes any more
	open   map[net.Conn]bool // those of the clients; whether something was sent since losing began
}

func newGate(t testing.TB, s *servers.Server) *gate {
	t.Helper()
	g := &gate{open: map[net.Conn]bool{}, hung: map[net.Conn]bool{}}
	g.port = servertest.Proxy(t, func() *servers.Server { return s }, g.serve)
	return g
}

// config is c's, through the gate.
func (g *gate) config(l *lab, c Config) Config {
	c.DSN = strings.Replace(c.DSN, ":"+strconv.Itoa(l.Port), ":"+strconv.Itoa(g.port), 1)
	return c
}

// cut breaks all connections, and those that come until mend.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.open {
		c.Close()
	}
}

func (g *gate) mend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

// hang has nothing come through the connections that there are, which stay open, as
// when a machine is gone and another one has its address.
func (g *gate) hang() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.open {
		g.hung[c] = true
	}
}

func (g *gate) hangs(client net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hung[client]
}

// loseNext has the answer to what is sent next not arrive. The channel is closed
// when the server has given it.
func (g *gate) loseNext() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.losing, g.lost = true, make(chan struct{})
	for c := range g.open {
		g.open[c] = false
	}
	return g.lost
}

func (g *gate) serve(client, server net.Conn) {
	g.mu.Lock()
	if g.shut {
		g.mu.Unlock()
		return
	}
	g.open[client] = false
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.open, client)
	}()
	go func() {
		defer server.Close()
		b := make([]byte, 1<<16)
		for {
			n, err := client.Read(b)
			if g.deaf && bytes.Contains(b[:n], []byte("LISTEN ")) {
				client.Close()
				return
			}
			if n > 0 && !g.hangs(client) {
				g.mu.Lock()
				g.open[client] = true
				g.mu.Unlock()
				if _, err := server.Write(b[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	b := make([]byte, 1<<16)
	for {
		n, err := server.Read(b)
		if n > 0 && g.loses(client) {
			return
		}
		if g.hangs(client) {
			n = 0
		}
		if _, gone := client.Write(b[:n]); err != nil || gone != nil {
			return
		}
	}
}

func (g *gate) loses(client net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.losing || !g.open[client] {
		return false
	}
	g.losing = false
	close(g.lost)
	return true
}
