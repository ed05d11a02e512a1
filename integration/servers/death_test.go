package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childKind is the variable that turns this test binary into a process that
// starts a server, says where it is, and waits to be killed.
const childKind = "PAWL_TEST_CHILD_STARTS"

func TestMain(m *testing.M) {
	kind := os.Getenv(childKind)
	if kind == "" {
		os.Exit(m.Run())
	}
	s, err := Start(context.Background(), Kind(kind), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Port, s.Dir, s.proc.family())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
}

func TestKilledProcessLeavesNoServer(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child of its parent's death")
	}
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) {
			need(t, kind)
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childKind+"="+string(kind))
			stdin, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			stdout, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(stdout).ReadString('\n')
			var port, pid int
			var dir string
			if _, err := fmt.Sscanf(line, "%d %s [%d", &port, &dir, &pid); err != nil {
				t.Fatalf("the child said %q: %v", line, err)
			}
			address := fmt.Sprintf("127.0.0.1:%d", port)
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()

			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait()

			deadline := time.Now().Add(20 * time.Second)
			for {
				conn, err := net.Dial("tcp", address)
				if err == nil {
					conn.Close()
				}
				if err != nil && !running(pid) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the server outlived its process: dial %v, process %d running: %v", err, pid, running(pid))
				}
				time.Sleep(20 * time.Millisecond)
			}

			// The data is cleared up by a later run, once it is surely abandoned.
			sweep()
			if _, err := os.Stat(dir); err != nil {
				t.Errorf("a fresh directory was swept: %v", err)
			}
			age(t, dir)
			sweep()
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s was not swept: %v", dir, err)
			}
		})
	}
}

// running reports whether a process exists and is more than a zombie that
// nobody has reaped.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// age makes a server's directory look old.
func age(t *testing.T, dir string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, lockName), old, old); err != nil {
		t.Fatal(err)
	}
}

func TestSweepSparesServersInUse(t *testing.T) {
	s := start(t, Postgres15, Options{})
	age(t, s.Dir)
	sweep()
	s.mustLogIn(t, s.Admin, s.AdminPassword)
	if _, err := os.Stat(filepath.Join(s.Dir, "data", "PG_VERSION")); err != nil {
		t.Error(err)
	}
}

// TestServerOutlivesStartingThread guards against the trap in the kernel's
// parent-death signal, which follows the thread and not the process.
func TestServerOutlivesStartingThread(t *testing.T) {
	need(t, Postgres15)
	started := make(chan *Server)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		s, err := Start(context.Background(), Postgres15, Options{})
		if err != nil {
			t.Error(err)
		}
		started <- s
	}()
	s := <-started
	if s == nil {
		return
	}
	defer s.Stop()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		runtime.Gosched()
		s.mustLogIn(t, s.Admin, s.AdminPassword)
	}
}
