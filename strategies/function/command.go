package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Command calls a program on this machine: the event as JSON on its standard
// input. Exit code 0 says that the step is done; on anything else its standard
// output, or the last line of it, {"errorType": …, "errorMessage": …}, or else
// the last line of its standard error, explains. It and its children (its process
// group) are killed when the time is over, and what is left of them when it ends;
// on Linux it is killed, though not its children, when Pawl dies. No more than a
// part of what it prints is kept.
type Command struct {
	Args []string // program and arguments; no shell
	Dir  string   // where it runs
	// Environment is all that it has of an environment: NAME=value, asked for
	// before each call; nil = none.
	Environment func(ctx context.Context, e Event) ([]string, error)
}

const (
	// maxOutput is how much of the standard output is kept.
	maxOutput = 64 << 10
	// waitDelay is how long a pipe is waited for that somebody still holds who
	// left the process group.
	waitDelay = time.Second
)

func (c *Command) who() string { return "the command " + shown(c.Args[0], 300) }

// program is where the file that is run is looked for; a name alone means one of
// the directories in Pawl's own PATH.
func (c *Command) program() string {
	if filepath.Base(c.Args[0]) == c.Args[0] || filepath.IsAbs(c.Args[0]) {
		return c.Args[0]
	}
	return filepath.Join(c.Dir, c.Args[0])
}

// Check implements Caller: there is such a program, and a place where it runs.
func (c *Command) Check(context.Context) error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return secrets.Errorf(secrets.Invalid, "the function's command is empty")
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
			return secrets.Errorf(secrets.Invalid, "%s can't be run in %s: that is no directory", c.who(), c.Dir)
		}
	}
	if _, err := exec.LookPath(c.program()); err != nil {
		return c.notStarted(err)
	}
	return nil
}

// Call implements Caller.
func (c *Command) Call(ctx context.Context, e Event) error {
	if err := c.Check(ctx); err != nil {
		return err
	}
	event, err := json.Marshal(e)
	if err != nil {
		return secrets.Errorf(secrets.Invalid, "the event for %s: %w", c.who(), err)
	}
	environment := []string{} // nil would be Pawl's own
	if c.Environment != nil {
		given, err := c.Environment(ctx, e)
		if err != nil {
			return err
		}
		environment = append(environment, given...)
	}
	stdout, stderr := output{head: maxOutput, line: maxOutput}, output{line: maxMessage}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.Dir, environment, waitDelay
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(event), &stdout, &stderr
	family(cmd)
	if started, err := run(cmd); !started {
		if e := over(ctx, c.who()); e != nil {
			return e
		}
		return c.notStarted(err)
	}
	if cmd.ProcessState.Success() {
		return nil
	}
	if e := over(ctx, c.who()); e != nil {
		return e
	}
	return c.failed(cmd.ProcessState, &stdout, &stderr, environment)
}

// run runs a command and returns when it has ended and its family is killed.
func run(cmd *exec.Cmd) (started bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Where the kernel kills the child with its parent, it means the thread
		// that started it (prctl(2), PR_SET_PDEATHSIG).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err = cmd.Start(); err != nil {
			return
		}
		started = true
		err = waitAndKill(cmd)
	}()
	<-done
	return started, err
}

// notStarted classifies what kept the program from starting.
func (c *Command) notStarted(err error) error {
	refuse := func(what, hint string) error {
		return secrets.Errorf(secrets.Invalid, "%s can't be run: %s", c.who(), what).WithHint("%s", hint)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound):
		if _, err := os.Stat(c.program()); err == nil {
			return refuse("the interpreter that its first line names is not there", "look at the line that begins with #!")
		}
		return refuse("there is no such file", "look at the function's command in the configuration file, and write the program's whole path")
	case errors.Is(err, exec.ErrDot):
		return refuse("it is in the current directory", "write the program's whole path")
	case errors.Is(err, fs.ErrPermission):
		return refuse("it is not executable for Pawl's user", "chmod +x it, and look at the directories above it")
	case errors.Is(err, syscall.ENOEXEC):
		return refuse("it is not a program of this kind of machine, and no script", "begin a script with a line such as #!/bin/sh")
	case errors.Is(err, syscall.EISDIR):
		return refuse("it is a directory", "write the program's whole path")
	case errors.Is(err, syscall.E2BIG), errors.Is(err, syscall.EINVAL):
		return refuse("the system does not take its arguments or environment", "look at the function's command and environment in the configuration file")
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return secrets.Errorf(secrets.Transient, "%s can't be run now: %w", c.who(), err).
		WithHint("is the machine out of processes or memory?")
}

// Exit codes that are commonly agreed on: those with which a shell says that what
// it ran was not there or was killed, and EX_TEMPFAIL of sysexits.h, by which a
// program itself says that another try may help.
var exitCodes = map[int]secrets.Kind{
	75:  secrets.Transient,
	126: secrets.Invalid, 127: secrets.Invalid,
	128 + 9: secrets.Transient, 128 + 15: secrets.Transient,
}

// failed is the error of a program that did not exit with 0.
func (c *Command) failed(state *os.ProcessState, stdout, stderr *output, environment []string) error {
	f := failure{what: fmt.Sprintf("%s failed with exit code %d", c.who(), state.ExitCode())}
	kind, hint := secrets.Denied, ""
	if k, ok := exitCodes[state.ExitCode()]; ok {
		kind = k
	}
	if sig := signalOf(state); sig != "" {
		f.what, kind = c.who()+" was killed by a signal ("+sig+")", secrets.Transient
		hint = "is the machine, or the limit on Pawl's service, short of memory?"
	}
	f.kind, f.message, f.cut = explanation(stdout, stderr)
	if k, known := kindOf(f.kind); known {
		kind = k
	}
	if f.message == "" && f.kind == "" && hint == "" {
		hint = "have it write the reason to its standard error"
	}
	// What it was given to get in with is no secret's value, but is as secret.
	var hide redactor
	for _, v := range environment {
		if name, value, _ := strings.Cut(v, "="); confidential.MatchString(name) {
			hide.text(value)
		}
	}
	f.message, f.cut = bounded(f.message, f.cut)
	f.message = hide.clean(f.message, f.cut)
	e := fail(kind, f)
	e.Hint = hint
	return e
}

// explanation is what a program printed to explain its failure.
func explanation(stdout, stderr *output) (kind, message string, cut bool) {
	if whole, fits := stdout.whole(); fits {
		if kind, message, ok := readFailure(whole); ok {
			return kind, message, false
		}
	}
	if line, cut := stdout.last(); !cut {
		if kind, message, ok := readFailure(line); ok {
			return kind, message, false
		}
	}
	line, cut := stderr.last()
	return "", string(line), cut
}

// confidential are the names of variables whose values are kept out of messages.
var confidential = regexp.MustCompile(`(?i)secret|token|pass|pwd|credential|auth|private|_key$|^key$`)
