package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func newRotate(g *globals) *cobra.Command {
	var due, all, asJSON bool
	var o rotator.Options
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "rotate NAME… | --due | --all",
		Short: "Rotate secrets now, once",
		Long: `Rotates each secret and shows every step as it happens (on standard error). What
may pass is tried again until --timeout; what needs a person ends at once. With a
store that many Pawls share, the claim of one that is silent is waited for: 15
seconds at most, unless it is heard of.
Finishing an interrupted rotation counts as the rotation.

By name and with --all the window and the next try of the schedule are ignored;
--due keeps both. --dry-run connects, checks every precondition, and changes
nothing.

With --endpoint the server rotates, and this command waits until it has. What
this command no longer waits for goes on there.`,
		Example: `  pawl rotate prod/app
  pawl rotate prod/app prod/api --dry-run
  pawl rotate --due --json --timeout 10m
  pawl rotate prod/app --endpoint http://127.0.0.1:4566`,
		RunE: func(cmd *cobra.Command, args []string) error {
			how := len(args)
			for _, f := range []bool{due, all} {
				if f {
					how += 1 << 20
				}
			}
			if how == 0 || how > 1<<20 {
				return usage(errors.New("say which: pawl rotate NAME…, or --due, or --all"))
			}
			if timeout <= 0 {
				return usage(fmt.Errorf("--timeout %v is not longer than zero", timeout))
			}
			t, err := g.targetWith(cmd, options{shown: len(args) > 0}) // else what is left alone is said
			if err != nil {
				return err
			}
			defer t.Close()
			if t.app != nil {
				if err := t.app.audit.open(t.app.cfg); err != nil {
					return usage(err)
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if _, err := t.declare(ctx); err != nil {
				return failed(err)
			}
			var tasks []task
			for _, name := range unique(args) {
				tasks = append(tasks, task{name: name, o: o})
			}
			if due || all {
				if tasks, err = t.which(ctx, due, o); err != nil {
					return failed(err)
				}
			}
			show := &stepPrinter{w: cmd.ErrOrStderr()}
			rotate, atOnce := t.rotator(show)
			return rotateAll(ctx, tasks, rotate, atOnce, asJSON, show, cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.BoolVar(&due, "due", false, "every secret that is due by its schedule")
	f.BoolVar(&all, "all", false, "every secret with a rotation")
	f.BoolVar(&o.DryRun, "dry-run", false, "check every precondition and change nothing")
	f.DurationVar(&timeout, "timeout", 2*time.Minute, "how long to go on trying, all secrets together")
	jsonFlag(c, &asJSON)
	return c
}

// task is one secret to rotate, and how.
type task struct {
	name string
	due  *service.Due // as it was seen due; nil = whatever the schedule says
	o    rotator.Options
}

// which lists the secrets that are due now, or all that rotate. What is
// unfinished has no window to mind, and so it is finished and nothing new begun.
func (t *target) which(ctx context.Context, due bool, o rotator.Options) ([]task, error) {
	var tasks []task
	err := t.Plan(ctx, time.Time{}, func(r service.RotationStatus) error {
		leftAlone := !r.Enabled && r.Problem != "" // AWS rotates it, say
		if !due && (r.Enabled || r.Unfinished) && !r.Paused && !leftAlone {
			tasks = append(tasks, task{name: t.shown(r), o: o})
		}
		// The time is asked for here: what is due at once is due since r was read.
		if due && !r.At.IsZero() && !r.At.After(time.Now()) {
			t := task{t.shown(r), &service.Due{ARN: r.ARN, Unfinished: r.Unfinished, At: r.At, Window: r.Window}, o}
			t.o.ResumeOnly = r.Unfinished
			tasks = append(tasks, t)
		}
		return nil
	})
	return tasks, err
}

// unique drops what names the same secret again, be it by name or by ARN.
func unique(names []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, n := range names {
		id, err := secrets.ParseID(n)
		if err != nil {
			id.ARN.Name = n // it will be told that there is no such secret
		}
		if !seen[id.ARN.Name] {
			seen[id.ARN.Name] = true
			out = append(out, n)
		}
	}
	return out
}

// rotation is one line of `rotate --json`.
type rotation struct {
	Name      string          `json:"Name"`
	Outcome   rotator.Outcome `json:"Outcome"`
	VersionID string          `json:"VersionId,omitempty"`
	Seconds   float64         `json:"Seconds"`
	Error     string          `json:"Error,omitempty"`
	Kind      string          `json:"Kind,omitempty"`
	ExitCode  int             `json:"ExitCode"`
}

// rotateOne rotates one secret, trying again what may pass until ctx ends.
type rotateOne func(ctx context.Context, t task) (rotator.Result, error)

// rotator returns how secrets are rotated here, and how many at a time: on the
// store no more than one database server may get.
func (t *target) rotator(show *stepPrinter) (rotate rotateOne, atOnce int) {
	if t.server != nil {
		return (&remote{server: t.server, show: show}).rotate, remoteAtOnce
	}
	run := t.app.runner
	run.Notify = func(_ string, err error, wait time.Duration) { show.next(err, wait) }
	run.Waiting = func(name string, h *service.Held) { show.waiting(name, h) }
	return func(ctx context.Context, t task) (rotator.Result, error) {
		t.o.Report = show.event
		if t.due != nil {
			return run.DueUntilDone(ctx, *t.due, t.o)
		}
		return run.UntilDone(ctx, t.name, t.o)
	}, max(1, t.app.cfg.Scheduler.PerTarget)
}

// rotateAll rotates several secrets and returns the worst exit code.
func rotateAll(ctx context.Context, tasks []task, rotate rotateOne, atOnce int, asJSON bool, show *stepPrinter, out io.Writer) error {
	results := make([]rotation, len(tasks))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, t := range tasks {
		group.Go(func() error {
			name := t.name
			res, err := rotate(ctx, t)
			r := rotation{Name: name, Outcome: res.Outcome, VersionID: res.Version, Seconds: res.Took.Seconds()}
			if err != nil {
				r.Outcome, r.Error, r.Kind, r.ExitCode = "failed", secrets.At(err, name, "", "").Error(), secrets.KindOf(err).String(), codeOf(err)
			}
			results[i] = r
			if !asJSON {
				show.result(out, r, res)
			}
			return nil
		})
	}
	_ = group.Wait() // errors are in the results
	code := exitDone
	for _, r := range results {
		code = worse(code, r.ExitCode)
	}
	if asJSON {
		if err := printJSON(out, results); err != nil {
			return failed(err)
		}
	} else if len(tasks) == 0 {
		fmt.Fprintln(out, "Nothing to rotate.")
	}
	if code != exitDone {
		return &exitError{code: code}
	}
	return nil
}

// stepPrinter shows a rotation's steps as they happen, one line each.
type stepPrinter struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *stepPrinter) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// next shows a failure that is followed by another try.
func (p *stepPrinter) next(err error, wait time.Duration) {
	p.line("%v; next try in %v", err, wait.Round(time.Millisecond))
}

// waiting shows that another process, which may be dead, has the secret: every
// second, so that it is seen that this command does not hang.
func (p *stepPrinter) waiting(name string, h *service.Held) {
	if id, err := secrets.ParseID(name); err == nil && id.ARN.Name != "" {
		name = id.ARN.Name
	}
	p.line("%s: another Pawl (%s) began rotating it and is silent; taking over in %d s unless it is heard of", name, h.By, int(math.Ceil(h.Left.Seconds())))
}

func (p *stepPrinter) event(e rotator.Event) {
	switch {
	case e.Note != "":
		p.line("%s: %s: %s", e.Secret, e.Step, e.Note)
	case e.Done:
		p.line("%s: %s done in %v", e.Secret, e.Step, e.Took.Round(time.Millisecond))
	default:
		p.line("%s: %s …", e.Secret, e.Step)
	}
}

func (p *stepPrinter) result(out io.Writer, r rotation, res rotator.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Error != "" {
		fmt.Fprintf(p.w, "pawl: %s\n", r.Error)
		return
	}
	fmt.Fprintf(out, "%s: %s in %v", r.Name, r.Outcome, res.Took.Round(time.Millisecond))
	if r.VersionID != "" {
		fmt.Fprintf(out, ", version %s", r.VersionID)
	}
	if res.Gap > 0 {
		fmt.Fprintf(out, "; the old password was dead for at most %v before the new one could be read", res.Gap.Round(time.Millisecond))
	}
	fmt.Fprintln(out)
}
