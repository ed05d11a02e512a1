package integration_test

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
)

// cut is how a proxy breaks a connection at a statement.
type cut int

const (
	noCut    cut = iota
	cutAfter     // the server has run the statement, its answer is lost
	cutBefore
)

// proxy stands between clients and a server, on a port of its own. It counts
// the connections, remembers what the clients said, and can cut a connection at
// the statement that sets a password.
type proxy struct {
	port int

	mu     sync.Mutex
	target *servers.Server
	logins int
	said   bytes.Buffer
	cut    cut // for the next such statement, once
}

// newProxy starts a proxy to a server; it ends with the test.
func newProxy(t testing.TB, s *servers.Server) *proxy {
	t.Helper()
	p := &proxy{target: s}
	p.port = servertest.Proxy(t, p.admit, p.serve)
	return p
}

func (p *proxy) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// to sends later connections to another server.
func (p *proxy) to(s *servers.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = s
}

// admit counts a connection and says where it goes.
func (p *proxy) admit() *servers.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logins++
	return p.target
}

// cutNext arms the proxy.
func (p *proxy) cutNext(c cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = c
}

// counts returns how many connections there were, and whether a password was
// set through one of them.
func (p *proxy) counts() (logins int, set bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logins, setsPassword(p.said.Bytes())
}

// setsPassword recognizes the statements of both families of servers.
func setsPassword(packet []byte) bool {
	for _, word := range []string{" PASSWORD 'SCRAM-SHA-256$", "ALTER USER", "SET PASSWORD"} {
		if bytes.Contains(packet, []byte(word)) {
			return true
		}
	}
	return false
}

func (p *proxy) serve(client, server net.Conn) {
	deaf := make(chan struct{})
	go func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			select {
			case <-deaf:
				return // the answer has come, so the statement was run
			default:
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		switch p.hear(buf[:n]) {
		case cutBefore:
			return
		case cutAfter:
			close(deaf)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// hear remembers a packet and says whether it is the one to cut at.
func (p *proxy) hear(packet []byte) cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said.Write(packet)
	if !setsPassword(packet) {
		return noCut
	}
	c := p.cut
	p.cut = noCut
	return c
}
