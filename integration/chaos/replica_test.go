//go:build linux

package chaos_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/chaos/link"
)

// replica is one Pawl: a process that is started again whenever it ends, as a
// service manager does, with cables of its own to the store and to the target.
type replica struct {
	n             int
	dir           string
	file          string // of the configuration
	store, target *link.Gate

	mu       sync.Mutex
	cmd      *exec.Cmd // nil = it is down, and so it is meant
	ended    chan struct{}
	endpoint string        // "" while it does not serve
	skew     time.Duration // of its clock
	starts   int
	faults   []string // what it did that it must not
	log      *os.File
}

// restartAfter is how soon a replica that ended by itself is started again.
const restartAfter = 300 * time.Millisecond

func newReplica(t testing.TB, n int, dir string) *replica {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, "pawl.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{n: n, dir: dir, file: filepath.Join(dir, "pawl.yaml"), store: &link.Gate{}, target: &link.Gate{}, log: log}
	t.Cleanup(func() {
		r.kill()
		log.Close()
	})
	return r
}

// start starts it with a clock that is wrong by skew.
func (r *replica) start(skew time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		return fmt.Errorf("replica %d runs", r.n)
	}
	r.skew = skew
	return r.launch()
}

// launch starts the process. r.mu is held.
func (r *replica) launch() error {
	bin, err := binary()
	if err != nil {
		return err
	}
	cmd := exec.Command(bin, "serve", "--config", r.file, "--listen", "127.0.0.1:0")
	cmd.Dir = r.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + r.dir, "PAWL_CHAOS_SKEW=" + r.skew.String(), "GORACE=exitcode=66"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = r.log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = start(cmd)
	}
	if err != nil {
		return err
	}
	r.starts++
	r.cmd, r.ended, r.endpoint = cmd, make(chan struct{}), ""
	began, _ := r.log.Seek(0, io.SeekEnd)
	go r.attend(cmd, out, r.ended, began)
	return nil
}

var served = regexp.MustCompile(`^export AWS_ENDPOINT_URL_SECRETS_MANAGER=(\S+)$`)

// attend reads what the process says, and starts it again if it ends by itself.
func (r *replica) attend(cmd *exec.Cmd, out io.Reader, ended chan struct{}, began int64) {
	for s := bufio.NewScanner(out); s.Scan(); {
		if m := served.FindStringSubmatch(s.Text()); m != nil {
			r.mu.Lock()
			if r.cmd == cmd {
				r.endpoint = m[1]
			}
			r.mu.Unlock()
		}
	}
	_ = cmd.Wait() // the code is in ProcessState
	r.mu.Lock()
	meant := r.cmd != cmd
	if !meant {
		// It gives up where it can't reach the store at its start: code 3, which says
		// that trying again may help.
		if code := cmd.ProcessState.ExitCode(); code != 3 || r.endpoint != "" {
			r.faults = append(r.faults, fmt.Sprintf("replica %d ended by itself with code %d:\n%s", r.n, code, r.logged(began)))
		}
		r.endpoint = ""
	}
	r.mu.Unlock()
	close(ended)
	if meant {
		return
	}
	time.Sleep(restartAfter)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == cmd {
		if err := r.launch(); err != nil {
			r.faults = append(r.faults, fmt.Sprintf("replica %d does not start: %v", r.n, err))
		}
	}
}

// logged is the end of what it logged from there on. r.mu is held.
func (r *replica) logged(from int64) string {
	b := make([]byte, 1<<20)
	n, _ := r.log.ReadAt(b, from)
	lines := strings.Split(strings.TrimSpace(string(b[:n])), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-20):], "\n  ")
}

// kill is kill -9, and it stays down.
func (r *replica) kill() {
	r.strike()
	r.reap()
}

// strike is kill without waiting, and reap waits.
func (r *replica) strike() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	}
	r.cmd, r.endpoint = nil, ""
}

func (r *replica) reap() {
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// pause is SIGSTOP, and wake its end.
func (r *replica) pause() { r.signal(syscall.SIGSTOP) }
func (r *replica) wake()  { r.signal(syscall.SIGCONT) }

func (r *replica) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		_ = syscall.Kill(-r.cmd.Process.Pid, s) // it may have ended
	}
}

func (r *replica) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

// at is where it serves ("" = it does not), and which process that is.
func (r *replica) at() (endpoint string, process int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.endpoint, r.n*1000 + r.starts
}

// told is what the replica did that it must not: end by itself, race, panic.
func (r *replica) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := append([]string(nil), r.faults...)
	if _, err := r.log.Seek(0, io.SeekStart); err != nil {
		return append(out, err.Error())
	}
	all, err := io.ReadAll(r.log)
	if err != nil {
		return append(out, err.Error())
	}
	lines := strings.Split(string(all), "\n")
	for i, line := range lines {
		if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.Contains(line, `msg="panic`) {
			out = append(out, fmt.Sprintf("replica %d:\n  %s", r.n, strings.Join(lines[i:min(len(lines), i+40)], "\n  ")))
			break
		}
	}
	return out
}

// about are the lines of the log that tell of a secret's rotations, from one time to
// another.
func (r *replica) about(secret string, from, to time.Time) (out []string) {
	b, err := os.ReadFile(r.log.Name())
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339, stamp)
		if err == nil && !at.Before(from) && !at.After(to) && strings.Contains(line, "secret="+secret+" ") && !strings.Contains(line, "msg=request") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
