package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// heard is a log that can be waited for.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // closed at the next write; nil = nobody waits
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.more != nil {
		close(h.more)
		h.more = nil
	}
	return h.text.Write(p)
}

func (h *heard) String() string {
	text, _ := h.now()
	return text
}

// now returns the text, and what is closed when there is more of it.
func (h *heard) now() (string, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.more == nil {
		h.more = make(chan struct{})
	}
	return h.text.String(), h.more
}

func (h *heard) wait(text string) error {
	end := time.After(30 * time.Second)
	for {
		all, more := h.now()
		if strings.Contains(all, text) {
			return nil
		}
		select {
		case <-more:
		case <-end:
			return fmt.Errorf("the log never says %q:\n%s", text, all)
		}
	}
}

// scriptServer: `server hup` sends SIGHUP to what serve has started, and `server
// logged TEXT` waits until its log has the text.
func scriptServer(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts).served
	tell(ts, s.cmd.Process, &s.err, args)
}

func tell(ts *testscript.TestScript, p *os.Process, log *heard, args []string) {
	switch {
	case len(args) == 1 && args[0] == "hup":
		ts.Check(p.Signal(syscall.SIGHUP))
	case len(args) == 2 && args[0] == "logged":
		ts.Check(log.wait(args[1]))
	default:
		ts.Fatalf("say hup, or logged TEXT")
	}
}

// daemon is a `pawl serve` without an API that runs beside a script.
type daemon struct {
	cmd *exec.Cmd
	log heard
}

// scriptDaemon: daemon starts `pawl serve` with the script's own environment and
// waits until it serves. `daemon hup` and `daemon logged TEXT` are server's;
// `daemon stopped` ends it, which must give exit code 0, and writes its log to
// daemon.err.
func scriptDaemon(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	switch {
	case len(args) == 0:
		d := &daemon{cmd: exec.Command(lookPath(ts, "pawl"), "serve")}
		d.cmd.Dir, d.cmd.Stderr = ts.MkAbs("."), &d.log
		for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "PGPASSWORD", "PGHOST", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION",
			"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"} {
			d.cmd.Env = append(d.cmd.Env, name+"="+ts.Getenv(name))
		}
		ts.Check(d.cmd.Start())
		s.daemon = d
		ts.Defer(func() {
			if s.daemon == d {
				_ = d.stop()
			}
		})
		ts.Check(d.log.wait("pawl serves"))
	case args[0] == "stopped":
		d := s.daemon
		s.daemon = nil
		err := d.stop()
		s.shown.WriteString(d.log.String())
		ts.Check(os.WriteFile(ts.MkAbs("daemon.err"), []byte(d.log.String()), 0o600))
		ts.Check(err)
	default:
		tell(ts, s.daemon.cmd.Process, &s.daemon.log, args)
	}
}

// stop ends the daemon by SIGTERM.
func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(40*time.Second, func() { _ = d.cmd.Process.Kill() })
	defer kill.Stop()
	return d.cmd.Wait()
}

// lookPath finds a program by the script's own PATH.
func lookPath(ts *testscript.TestScript, name string) string {
	for _, d := range filepath.SplitList(ts.Getenv("PATH")) {
		if f := filepath.Join(d, name); isFile(f) {
			return f
		}
	}
	ts.Fatalf("there is no %s in the script's PATH", name)
	return ""
}

// scriptStoreAt: store-at FILE… writes a pawl.yaml with the server at ENDPOINT as
// the AWS store, and the files' text after that.
func scriptStoreAt(ts *testscript.TestScript, neg bool, args []string) {
	text := "store: {aws: {region: us-east-1, endpoint: '" + ts.Getenv("ENDPOINT") + "', discover: true, refresh: 10s, rate_limits: 1}}\n"
	for _, f := range args {
		text += ts.ReadFile(f)
	}
	ts.Check(os.WriteFile(ts.MkAbs("pawl.yaml"), []byte(text), 0o600))
}
