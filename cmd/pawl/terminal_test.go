//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
)

// console is a person's terminal: what he types, and what he sees.
type console struct {
	t          *testing.T
	ours, tty  *os.File
	mu         sync.Mutex
	seen       bytes.Buffer
	hasStopped chan struct{}
}

// newConsole opens a pseudo-terminal.
func newConsole(t *testing.T) *console {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("no pseudo-terminals here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &console{t: t, ours: ours, tty: tty, hasStopped: make(chan struct{})}
	go func() {
		defer close(c.hasStopped)
		_, _ = io.Copy(c, ours) // ends with an error when the terminal is closed
	}()
	t.Cleanup(func() {
		tty.Close()
		<-c.hasStopped
		ours.Close()
	})
	return c
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.Write(p)
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

// await waits until the screen shows a text.
func (c *console) await(text string) {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(c.text(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%q does not show; the screen: %q", text, c.text())
		}
	}
}

func (c *console) run(args ...string) int {
	return run(context.Background(), args, c.tty, c.tty, c.tty)
}

// readmeSequence returns the commands of the README's section for a person's
// own password.
func readmeSequence(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Rotate a password of your own\n")
	if !ok {
		t.Fatal("the README has no section for a password of one's own")
	}
	block, _, _ := strings.Cut(strings.TrimSpace(section), "\n\n")
	var out []string
	for line := range strings.Lines(block) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// TestReadmeSequence types the README's commands on a terminal, word for word
// but for the server's address, and the password when asked.
func TestReadmeSequence(t *testing.T) {
	db, err := workload.Prepare(t.Context(), servertest.Start(t, servers.Postgres15, servers.Options{}), "readme")
	if err != nil {
		t.Fatal(err)
	}
	user, err := db.AddUser(t.Context(), "readme_app")
	if err != nil {
		t.Fatal(err)
	}
	commands := readmeSequence(t)
	t.Chdir(t.TempDir())
	if len(commands) != 3 {
		t.Fatalf("the README's sequence has %d commands: %q", len(commands), commands)
	}
	c := newConsole(t)
	asked := false
	for _, line := range commands {
		line = strings.NewReplacer(
			"db.example.com", fmt.Sprintf("%s --port %d", db.Server.Host, db.Server.Port),
			"--username app", "--username readme_app", "--dbname shop", "--dbname "+db.Name,
		).Replace(line)
		args := strings.Fields(line)
		if args[0] != "pawl" {
			t.Fatalf("%q does not call pawl", line)
		}
		code := make(chan int)
		go func() { code <- c.run(args[1:]...) }()
		if strings.Contains(line, "secret create") {
			asked = true
			c.await("Present password of readme_app on 127.0.0.1: ")
			fmt.Fprintf(c.ours, "%s\n", user.Password().Reveal())
		}
		if got := <-code; got != exitDone {
			t.Fatalf("%s: exit code %d; the screen: %s", line, got, c.text())
		}
	}
	if !asked {
		t.Fatal("no password was asked for")
	}

	c.await("before the new one could be read")
	if strings.Contains(c.text(), user.Password().Reveal()) {
		t.Error("the password was echoed")
	}
	// The README shows these lines.
	for _, want := range []string{
		"prod/app: createSecret …", `prod/app: createSecret done in \d+ms`,
		"prod/app: setSecret …", `prod/app: setSecret done in \d+ms`,
		"prod/app: testSecret …", `prod/app: testSecret done in \d+ms`,
		"prod/app: finishSecret …", `prod/app: finishSecret done in \d+ms`,
		`prod/app: rotated in \d+ms, version [0-9a-f-]{36}`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(c.text()) {
			t.Errorf("no line %q in %s", want, c.text())
		}
	}

	var piped bytes.Buffer
	if code := run(t.Context(), []string{"secret", "get", "prod/app"}, nil, &piped, c.tty); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	cred, err := secrets.ParseCredentials(secrets.Text(piped.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Login(t.Context(), cred); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := db.Login(t.Context(), user); !workload.Refused(err) {
		t.Errorf("the old password: %v", err)
	}
}

// TestGetOnATerminal: there, and only there, a newline follows the value.
func TestGetOnATerminal(t *testing.T) {
	t.Chdir(t.TempDir())
	var out bytes.Buffer
	must := func(in string, args ...string) {
		t.Helper()
		if code := run(t.Context(), args, strings.NewReader(in), &out, os.Stderr); code != exitDone {
			t.Fatalf("%q: exit code %d", args, code)
		}
	}
	must("", "init")
	must("the value", "secret", "create", "x", "--value-file", "-")
	out.Reset()
	must("", "secret", "get", "x")
	if out.String() != "the value" {
		t.Errorf("piped: %q", &out)
	}
	c := newConsole(t)
	if code := c.run("secret", "get", "x"); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	c.await("the value\r\n")
	if c.text() != "the value\r\n" {
		t.Errorf("on a terminal: %q", c.text())
	}
}

// TestEmptyPasswordIsRefused: a person who only presses Enter.
func TestEmptyPasswordIsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newConsole(t)
	if code := c.run("init"); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	code := make(chan int)
	go func() {
		code <- c.run("secret", "create", "x", "--engine", "mysql", "--host", "db.example.com", "--username", "app")
	}()
	c.await("Present password of app on db.example.com: ")
	fmt.Fprint(c.ours, "\n")
	if got := <-code; got != exitUsage {
		t.Errorf("exit code %d", got)
	}
	c.await("the password is empty")
}
