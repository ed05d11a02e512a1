package servertest

import (
	"net"
	"strconv"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
)

// Proxy stands between clients and a server until the test ends, for tests that
// watch or break what goes between them. serve has each client together with a
// connection of its own to the server that target names then; both are closed
// when it returns. Proxy returns the port of 127.0.0.1 that it listens on.
func Proxy(t testing.TB, target func() *servers.Server, serve func(client, server net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				s := target()
				server, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
				if err != nil {
					return
				}
				defer server.Close()
				serve(client, server)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}
