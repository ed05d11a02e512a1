//go:build linux

// Package chaos_test has three real Pawls rotate twenty real users' passwords over
// one PostgreSQL, while they are killed, paused, cut off, slowed and given wrong
// clocks, and the database dies under them; and finds out by what the two
// databases have written down themselves whether any of Pawl's promises was
// broken.
//
// PAWL_CHAOS is how long that goes on (1m), PAWL_CHAOS_SEED which chaos it is.
package chaos_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
)

var binaryDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// binary builds the program with a clock that can be wrong, and with the race
// detector if these tests have it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pawl-chaos-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	// go test runs a test again when a file has changed that it looked at.
	sources, err := filepath.Glob(filepath.Join("..", "..", "cmd", "pawl", "*.go"))
	if err != nil || len(sources) == 0 {
		return "", fmt.Errorf("the program's sources: %d found, %v", len(sources), err)
	}
	for _, f := range sources {
		if _, err := os.Stat(f); err != nil {
			return "", err
		}
	}
	path := filepath.Join(dir, "pawl")
	args := []string{"build", "-tags", "chaos", "-o", path}
	if raced {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "github.com/pawlhq/pawl/cmd/pawl")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// spawning has one thread start every process: the kernel's word that a parent has
// died is the word that the thread has (prctl(2), PR_SET_PDEATHSIG).
var spawning = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range calls {
			f()
		}
	}()
	return calls
})

// start starts a command.
func start(cmd *exec.Cmd) error {
	err := make(chan error)
	spawning() <- func() { err <- cmd.Start() }
	return <-err
}

// until waits until something is so.
func until(t testing.TB, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// kinds are the PostgreSQLs to be the store and the target: both, if both are here.
func kinds(t testing.TB, swap bool) (store, target servers.Kind) {
	t.Helper()
	var there []servers.Kind
	for _, k := range []servers.Kind{servers.Postgres15, servers.Postgres18} {
		if ok, _ := servers.Find(k); ok {
			there = append(there, k)
		}
	}
	if len(there) == 0 {
		if _, err := servers.FindPostgres(); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		there = []servers.Kind{servers.AnyPostgres}
	}
	store, target = there[0], there[len(there)-1]
	if swap {
		store, target = target, store
	}
	if k := servers.Kind(os.Getenv("PAWL_CHAOS_STORE")); k != "" {
		store = k
	}
	return store, target
}

// serverOf starts a server for one test.
func serverOf(t testing.TB, kind servers.Kind, settings ...string) *servers.Server {
	t.Helper()
	args := []string{"-c", "max_connections=300"}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	s, err := servers.Start(context.Background(), kind, servers.Options{Args: args})
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
