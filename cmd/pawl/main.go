// Command pawl rotates secrets and keeps them. This package is wiring only: one
// file per subcommand, no rules.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/secrets"
)

// Exit codes; scripts rely on them. They are documented in `pawl help` and in
// docs/operations.md.
const (
	exitDone     = 0
	exitPerson   = 1 // a person is needed
	exitUsage    = 2 // arguments or configuration wrong; no secret was touched
	exitRetry    = 3 // time ran out on something that may pass; safe to run again
	exitConflict = 4 // another living process is rotating the secret
)

func main() {
	// Drivers must read no ambient configuration: a PGPASSWORD in somebody's
	// shell could make a wrong credential look right.
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			os.Unsetenv(name)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, lambdaArgs(os.Args[1:], os.Getenv), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var quiet *exitError
	if errors.As(err, &quiet) {
		if quiet.err != nil {
			fmt.Fprintln(errOut, "pawl:", quiet.err)
		}
		return quiet.code
	}
	// What is left comes from cobra: an unknown command, flag or argument.
	fmt.Fprintf(errOut, "pawl: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
	return exitUsage
}

// exitError ends the program with a code of its own; a nil err was already told.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as one of arguments or configuration.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitUsage, err}
}

// failed gives an operation's error the exit code of its kind.
func failed(err error) error {
	if err == nil {
		return nil
	}
	var e *exitError
	if errors.As(err, &e) {
		return err
	}
	return &exitError{codeOf(err), err}
}

func codeOf(err error) int {
	switch secrets.KindOf(err) {
	case secrets.Conflict:
		return exitConflict
	case secrets.Transient, secrets.Unknown:
		return exitRetry
	default:
		return exitPerson
	}
}

// worse orders exit codes of several secrets: 1 before 3 before 4 before 0.
func worse(a, b int) int {
	rank := map[int]int{exitPerson: 3, exitRetry: 2, exitConflict: 1}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "pawl",
		Short: "Rotate database passwords and keep secrets; a rotation only ever moves forward",
		Long: `Pawl changes database passwords on a schedule or on demand, and keeps them.
Whatever dies in the middle, no password is lost and no application is locked out.

Exit codes:
  0  done
  1  a person is needed: a secret is missing or invalid, a server said no
  2  arguments or configuration wrong; no secret was touched
  3  time ran out on something that may pass; it is safe to run again
  4  another living process is rotating the secret
With several secrets the worst counts: 1, then 3, then 4.`,
		Example: `  pawl init
  pawl secret create prod/app --engine postgres --host db.example.com --username app
  pawl rotate prod/app`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var g globals
	f := root.PersistentFlags()
	f.StringVar(&g.config, "config", "", "configuration file (default ./pawl.yaml, then $PAWL_CONFIG, then /etc/pawl/pawl.yaml)")
	f.StringVar(&g.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&g.logFormat, "log-format", "text", "text or json")
	f.StringVar(&g.endpoint, "endpoint", "", "act at this running server, such as http://127.0.0.1:4566, instead of on the store;\nwith the AWS environment's credentials and region")
	root.AddCommand(
		newInit(&g), newSecret(&g), newAccess(&g), newKey(&g), newRotate(&g), newServe(&g), newPlan(&g), newStatus(&g),
		newPause(&g), newResume(&g), newStore(&g), newBackup(&g), newRestore(&g),
		newDemo(&g), newHealthcheck(&g), newLambda(&g), newVersion(),
	)
	explainCompletion(root)
	return root
}

// explainCompletion gives cobra's own command an example, and has it refuse an
// unknown shell, which it takes for a wish for help otherwise.
func explainCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Example = "  pawl completion bash"
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range c.Commands() {
			shell.Example = "  pawl completion " + shell.Name()
		}
	}
}
