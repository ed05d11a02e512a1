package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/integration/servers/servertest"
)

// servedM is the package's tests with the servers they share.
type servedM struct{ m *testing.M }

func (s servedM) Run() int { return servertest.Main(s.m) }

// TestMain makes this binary be pawl itself when a script calls it by that name.
func TestMain(m *testing.M) {
	testscript.Main(servedM{m}, map[string]func(){"pawl": main})
}

// commands calls f with every command of the program.
func commands(f func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		f(c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

// TestEveryCommandExplainsItself: a line, an example that begins with the
// command's own name, and a help that runs.
func TestEveryCommandExplainsItself(t *testing.T) {
	n := 0
	commands(func(c *cobra.Command) {
		n++
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", path, c.Short)
		}
		if !strings.Contains(c.Example, path) {
			t.Errorf("%s: no example of it: %q", path, c.Example)
		}
		args := append(strings.Fields(path)[1:], "--help")
		var out, errOut bytes.Buffer
		if code := run(context.Background(), args, nil, &out, &errOut); code != exitDone || errOut.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %s", path, code, &errOut)
		}
		if !strings.Contains(out.String(), "Examples:\n") {
			t.Errorf("%s --help shows no example", path)
		}
	})
	if n < 20 {
		t.Errorf("only %d commands were looked at", n)
	}
}

// TestEveryExampleIsValid: what the help shows has the arguments and flags that
// the command takes.
func TestEveryExampleIsValid(t *testing.T) {
	commands(func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, call, ok := strings.Cut(line, "pawl ")
			if !ok {
				t.Errorf("%s: example %q does not call pawl", c.CommandPath(), line)
				continue
			}
			call, _, _ = strings.Cut(call, " < ")
			call = strings.TrimSuffix(strings.TrimSpace(call), `)"`) // of eval "$(…)"
			args := strings.Fields(call)
			root := newRoot()
			cmd, rest, err := root.Find(args)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err == nil {
				err = cmd.ValidateFlagGroups()
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), strings.TrimSpace(line), err)
			}
		}
	})
}

// TestNoFlagTakesAValue: a password that is an argument shows in the process
// list and in the shell's history.
func TestNoFlagTakesAValue(t *testing.T) {
	commands(func(c *cobra.Command) {
		for _, name := range []string{"password", "secret-string", "value", "secret-binary"} {
			if c.Flags().Lookup(name) != nil {
				t.Errorf("%s has a flag --%s", c.CommandPath(), name)
			}
		}
	})
}

// TestWorse: of several secrets' exit codes the worst counts, 1 over 3 over 4.
func TestWorse(t *testing.T) {
	order := []int{exitDone, exitConflict, exitRetry, exitPerson}
	for i, a := range order {
		for j, b := range order {
			if got, want := worse(a, b), order[max(i, j)]; got != want {
				t.Errorf("worse(%d, %d) = %d, want %d", a, b, got, want)
			}
		}
	}
}

// TestHelpNamesTheExitCodes: whoever writes a pipeline looks there first.
func TestHelpNamesTheExitCodes(t *testing.T) {
	var out bytes.Buffer
	if code := run(context.Background(), []string{"help"}, nil, &out, os.Stderr); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{"\n  0  ", "\n  1  ", "\n  2  ", "\n  3  ", "\n  4  "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the help does not name exit code %q", strings.TrimSpace(want))
		}
	}
}
