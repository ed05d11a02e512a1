package postgres

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
)

// intercept decides about one message of the client: drop keeps it from the
// server, and the answer goes back in the server's place.
type intercept func(pgproto3.FrontendMessage) (answer pgproto3.BackendMessage, drop bool)

// newProxy stands between a client and a server, reads every message of the
// client and lets a test answer in the server's place. It returns its port.
func newProxy(t *testing.T, s *servers.Server, f intercept) int {
	return serveProxy(t, s, func(client net.Conn, server net.Conn) {
		go io.Copy(client, server)
		backend := pgproto3.NewBackend(client, client)
		front := pgproto3.NewFrontend(server, server)
		startup, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		if answer, drop := f(startup); drop {
			reply(backend, answer)
			return
		}
		front.Send(startup)
		for front.Flush() == nil {
			backend.SetAuthType(pgproto3.AuthTypeSASLFinal) // the bodies are only passed on
			m, err := backend.Receive()
			if err != nil {
				return
			}
			if answer, drop := f(m); drop {
				reply(backend, answer, &pgproto3.ReadyForQuery{TxStatus: 'I'})
				continue
			}
			front.Send(m)
		}
	})
}

func reply(b *pgproto3.Backend, ms ...pgproto3.BackendMessage) {
	for _, m := range ms {
		b.Send(m)
	}
	b.Flush()
}

// newCutter stands between a client and a server and cuts the client off at
// the moment at which the server is about to answer to a statement that holds
// word: the server has run it, and the client never hears of it.
func newCutter(t *testing.T, s *servers.Server, word string) int {
	return serveProxy(t, s, func(client net.Conn, server net.Conn) {
		cut := make(chan struct{})
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := server.Read(buf)
				if err != nil {
					return
				}
				select {
				case <-cut:
					client.Close()
					return
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
			if bytes.Contains(buf[:n], []byte(word)) {
				close(cut)
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
	})
}

func serveProxy(t *testing.T, s *servers.Server, serve func(client, server net.Conn)) int {
	t.Helper()
	return servertest.Proxy(t, func() *servers.Server { return s }, serve)
}
