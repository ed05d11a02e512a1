//go:build unix

package servers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running child. err is set when done is closed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// spawn starts a command and reaps it. The parent-death signal that childAttr
// asks for comes when the *thread* that forked ends (prctl(2),
// PR_SET_PDEATHSIG), so that thread is kept for as long as the child lives.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// kill ends the child and all below it, and returns when the child is reaped.
func (p *process) kill() {
	// The family is listed while the child lives: its orphans would be
	// strangers. Each of PostgreSQL's backends is a session of its own, so the
	// process group alone would miss them.
	family := p.family()
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	// A server that is started again finds its shared memory in use as long as
	// one of them has not ended.
	for deadline := time.Now().Add(5 * time.Second); slices.ContainsFunc(family, alive) && time.Now().Before(deadline); {
		time.Sleep(pollEvery)
	}
}

// alive reports whether a process exists and has not ended.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := strings.TrimSpace(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// pause freezes the child first, so that it cannot have more children.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP, p.cmd.Process.Pid); err != nil {
		return err
	}
	return p.signal(syscall.SIGSTOP, p.family()...)
}

func (p *process) resume() error { return p.signal(syscall.SIGCONT, p.family()...) }

func (p *process) signal(sig syscall.Signal, pids ...int) error {
	select {
	case <-p.done:
		return errStopped
	default:
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal %d to process %d: %w", sig, pid, err)
		}
	}
	return nil
}

// family is the child and everything below it, or nothing if it is gone.
func (p *process) family() []int {
	select {
	case <-p.done:
		return nil
	default:
	}
	children := processTree()
	family := []int{p.cmd.Process.Pid}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i]]...)
	}
	return family
}

// processTree maps every process of the machine to its children.
func processTree() map[int][]int {
	tree := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// "pid (name) state ppid …", and the name may hold anything.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			tree[parent] = append(tree[parent], pid)
		}
	}
	if len(stats) > 0 {
		return tree
	}
	out, _ := exec.Command("ps", "-Ao", "pid=,ppid=").Output()
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil {
			tree[parent] = append(tree[parent], pid)
		}
	}
	return tree
}

// account is who a server runs as; nil is this process's own user.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount chooses the account to run a server as. Servers refuse to be
// root: root runs them as the first of these accounts that exists, or nobody.
func serverAccount(names []string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range append(slices.Clone(names), "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("a server refuses to run as root, and there is no user %s or nobody", strings.Join(names, ", "))
}

// own gives a file or directory to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// canReach returns an error if the account cannot enter a directory above path.
func (a *account) canReach(path string) error {
	if a == nil {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			switch {
			case owner.Uid == a.uid:
				mode >>= 6
			case owner.Gid == a.gid:
				mode >>= 3
			}
		}
		if mode&1 == 0 {
			return fmt.Errorf("user %q, as whom root runs the server, may not enter %s on the way to %s", a.name, dir, path)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// childAttr puts a child into its own process group, as the account, to be
// killed with this process where the system can do that.
func childAttr(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	dieWithParent(attr)
	return attr
}
