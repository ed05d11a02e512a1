//go:build linux

package chaos_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/integration/chaos/link"
)

// ownerOf finds out which of some processes of this machine has the other end of a
// connection to here: -1 where none has. All replicas dial one address, which is in
// the secrets, and each is to have a cable of its own.
func ownerOf(c net.Conn, pids []int) int {
	inode := socketOf(c.RemoteAddr().(*net.TCPAddr).Port, c.LocalAddr().(*net.TCPAddr).Port)
	if inode == "" {
		return -1
	}
	for i, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, f := range files {
			if to, err := os.Readlink(f); err == nil && to == "socket:["+inode+"]" {
				return i
			}
		}
	}
	return -1
}

// socketOf is the inode of the loopback socket that is connected from one port to
// another (proc(5), /proc/net/tcp).
func socketOf(from, to int) string {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer f.Close()
	want := fmt.Sprintf(" 0100007F:%04X 0100007F:%04X ", from, to)
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.Contains(s.Text(), want) {
			if fields := strings.Fields(s.Text()); len(fields) > 9 {
				return fields[9]
			}
		}
	}
	return ""
}

// callers remembers whose connection a database sees from which port. A port may
// be another's later.
type callers struct {
	mu    sync.Mutex
	ports map[int][]attached
}

type attached struct {
	at      time.Time
	replica int
}

// joined notes a connection of a replica's to a server.
func (c *callers) joined(server net.Conn, replica int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports == nil {
		c.ports = map[int][]attached{}
	}
	port := server.LocalAddr().(*net.TCPAddr).Port
	c.ports[port] = append(c.ports[port], attached{time.Now(), replica})
}

// whose is the replica that had a port then; nobody is somebody else.
func (c *callers) whose(port int, at time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.ports[port]
	for i := len(calls) - 1; i >= 0; i-- {
		if !calls[i].at.After(at.Add(clockGrain)) {
			return calls[i].replica
		}
	}
	return nobody
}

// nobody is whoever is no replica: the tests themselves.
const nobody = -1

// clockGrain is as fine as PostgreSQL's log tells the time, and a bit.
const clockGrain = 5 * time.Millisecond

// gateOf returns the gate of the replica whose connection it is.
func gateOf(rs []*replica) func(net.Conn) *link.Gate {
	return func(c net.Conn) *link.Gate {
		pids := make([]int, len(rs))
		for i, r := range rs {
			pids[i] = r.pid()
		}
		if i := ownerOf(c, pids); i >= 0 {
			return rs[i].target
		}
		return nil
	}
}
