// Package servertest gives tests real servers: one per kind and options for
// the whole run of a package.
package servertest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
)

// started holds the shared servers by kind and options.
var started struct {
	sync.Mutex
	inMain  bool
	servers map[string]*shared
}

type shared struct {
	once   sync.Once
	server *servers.Server
	err    error
}

// Main runs a package's tests and then stops the servers that [Shared]
// started. Call it from TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }
//
// It returns the exit code: m.Run's, or 1 if a server could not be stopped.
func Main(m *testing.M) int { return MainOf(m.Run) }

// MainOf is Main for a package whose tests are run by something around m.Run.
func MainOf(run func() int) int {
	started.Lock()
	started.inMain = true
	started.Unlock()
	code := run()
	if err := stopAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

func stopAll() error {
	started.Lock()
	defer started.Unlock()
	var wg sync.WaitGroup
	errs := make(chan error, len(started.servers))
	for _, s := range started.servers {
		if s.server != nil {
			wg.Go(func() { errs <- s.server.Stop() })
		}
	}
	wg.Wait()
	close(errs)
	var first error
	for err := range errs {
		if first == nil && err != nil {
			first = fmt.Errorf("stop a shared server: %w", err)
		}
	}
	return first
}

// Shared returns the run's server of this kind and these options, starting it
// on first use; several callers wait for one start. The test fails if it does
// not start, and follows [Need] if it is not installed. Tests share it with
// others: make your own users and databases, and do not stop, restart or
// pause it — [servers.Start] one for that.
func Shared(t testing.TB, kind servers.Kind, options ...servers.Options) *servers.Server {
	t.Helper()
	Need(t, kind)
	var o servers.Options
	if len(options) > 0 {
		o = options[0]
	}
	started.Lock()
	if !started.inMain {
		started.Unlock()
		t.Fatal("servertest.Shared needs the package's TestMain to call servertest.Main")
	}
	if started.servers == nil {
		started.servers = map[string]*shared{}
	}
	key := fmt.Sprintf("%s %q %q %t %t %p %p %s", kind, o.Dir, o.Args, o.TLS, o.Durable, o.Log, o.ReplicaOf, o.MinApplyDelay)
	s := started.servers[key]
	if s == nil {
		s = &shared{}
		started.servers[key] = s
	}
	started.Unlock()
	s.once.Do(func() { s.server, s.err = servers.Start(context.Background(), kind, o) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// Start is [servers.Start] for one test: the server stops when the test ends.
func Start(t testing.TB, kind servers.Kind, o servers.Options) *servers.Server {
	t.Helper()
	Need(t, kind)
	s, err := servers.Start(context.Background(), kind, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Need skips the test if the kind is not installed, naming what to run; under
// CI (the variable CI is set and not empty) it fails the test instead.
func Need(t testing.TB, kind servers.Kind) {
	t.Helper()
	if ok, _ := servers.Find(kind); ok {
		return
	}
	message := fmt.Sprintf("%s is not installed: run `make servers`", kind)
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}
