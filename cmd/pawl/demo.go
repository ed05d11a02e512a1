package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func newDemo(g *globals) *cobra.Command {
	var engine string
	var d demo
	c := &cobra.Command{
		Use:   "demo",
		Short: "Watch real passwords rotate while an application keeps logging in",
		Long: `Starts a throw-away database server on a free loopback port, makes an owner, a
table and two application users, and rotates both users, one by each strategy,
while an application fetches its secret and logs in a hundred times a second.
Nothing of this machine is touched, and all of it is gone afterwards.`,
		Example: "  pawl demo\n  pawl demo --engine mysql --rotations 10 --every 2s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			kinds := map[string][]servers.Kind{
				"postgres": {servers.AnyPostgres},
				"mysql":    {servers.MySQL, servers.MariaDB},
				"mariadb":  {servers.MariaDB},
			}[engine]
			if kinds == nil {
				return usage(fmt.Errorf("--engine %q is not postgres, mysql or mariadb", engine))
			}
			if d.rotations < 1 || d.every < 0 {
				return usage(errors.New("--rotations is at least 1 and --every not negative"))
			}
			for _, k := range kinds {
				if ok, _ := servers.Find(k); ok {
					d.kind = k
					break
				}
			}
			if d.kind == "" {
				return usage(fmt.Errorf("there is no %s server on this machine; `make demo` gets one without touching anything else", engine))
			}
			d.out = cmd.OutOrStdout()
			return failed(d.run(cmd.Context()))
		},
	}
	c.Flags().StringVar(&engine, "engine", "postgres", "postgres, mysql or mariadb")
	c.Flags().IntVar(&d.rotations, "rotations", 20, "how many rotations with each strategy")
	c.Flags().DurationVar(&d.every, "every", time.Second, "time between two rotations")
	return c
}

// demo is one run of the demonstration.
type demo struct {
	kind      servers.Kind
	rotations int
	every     time.Duration
	out       io.Writer
}

// side is one user with his strategy and his application.
type side struct {
	name, strategy string
	app            *workload.Application
	done           int
	failed         error
	gaps           []time.Duration
}

func (d *demo) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "pawl-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	fmt.Fprintf(d.out, "Starting a throw-away %s …\n", d.kind)
	server, err := servers.Start(ctx, d.kind, servers.Options{})
	if err != nil {
		return err
	}
	defer server.Stop()
	fmt.Fprintf(d.out, "%s %s listens on %s:%d; passwords are asked for.\n", d.kind, server.Version, server.Host, server.Port)
	db, err := workload.Prepare(ctx, server, "shop")
	if err != nil {
		return err
	}
	a, err := d.pawl(ctx, dir)
	if err != nil {
		return err
	}
	defer a.Close()

	sides := []*side{{name: "demo/single", strategy: secrets.SingleUser}, {name: "demo/alternating", strategy: secrets.AlternatingUsers}}
	if err := put(ctx, a, "demo/superuser", db.Superuser()); err != nil {
		return err
	}
	for i, s := range sides {
		user, err := db.AddUser(ctx, []string{"app_single", "app_alternating"}[i])
		if err != nil {
			return err
		}
		if err := put(ctx, a, s.name, user); err != nil {
			return err
		}
		s.app = &workload.Application{
			Every: 10 * time.Millisecond,
			Login: db.Login,
			Fetch: func(ctx context.Context) (secrets.Credentials, error) {
				out, err := a.svc.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: s.name})
				if err != nil {
					return secrets.Credentials{}, err
				}
				return secrets.ParseCredentials(out.Value)
			},
		}
	}
	if _, err := a.declare(ctx); err != nil {
		return err
	}
	d.watch(ctx, a, sides)
	return d.summary(sides)
}

// pawl makes a Pawl of its own in dir, as `pawl init` and a person's editor do.
func (d *demo) pawl(ctx context.Context, dir string) (*app, error) {
	cfg, err := temporary(ctx, dir, `
secrets:
  - {name: demo/single, strategy: single-user}
  - {name: demo/alternating, strategy: alternating-users, superuser: demo/superuser}
`)
	if err != nil {
		return nil, err
	}
	return assemble(ctx, cfg, slog.New(slog.DiscardHandler))
}

func put(ctx context.Context, a *app, name string, c secrets.Credentials) error {
	_, err := a.svc.CreateSecret(ctx, service.CreateSecretInput{Name: name, GivenValue: service.Give(c.Value()), ClientRequestToken: newToken()})
	return err
}

// watch rotates both sides in turn until the count is reached or ctx ends, and
// shows how their applications fare.
func (d *demo) watch(ctx context.Context, a *app, sides []*side) {
	appCtx, stopApps := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{}, len(sides))
	for _, s := range sides {
		go func() { s.app.Run(appCtx); ended <- struct{}{} }()
	}
	fmt.Fprintf(d.out, "\nRotating every %v, %d times with each strategy; Ctrl-C ends it.\n\n", d.every, d.rotations)
	fmt.Fprintf(d.out, "%-4s %-18s %-9s %-12s %10s %10s\n", "#", "strategy", "took", "version", "logins", "refusals")
	tick := time.NewTicker(max(d.every, time.Millisecond))
	defer tick.Stop()
rotations:
	for n := 1; n <= d.rotations; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			break rotations
		}
		for _, s := range sides {
			res, err := a.runner.Once(ctx, s.name, rotator.Options{})
			if err != nil && ctx.Err() != nil {
				break rotations // Ctrl-C: what is under way would be resumed
			}
			if err != nil {
				s.failed = err
				fmt.Fprintf(d.out, "%-4d %-18s %v\n", n, s.strategy, err)
				continue
			}
			s.done++
			if res.Gap > 0 {
				s.gaps = append(s.gaps, res.Gap)
			}
			st := s.app.Stats()
			fmt.Fprintf(d.out, "%-4d %-18s %-9v %-12s %10d %10d\n", n, s.strategy,
				res.Took.Round(time.Millisecond), res.Version[:8]+"…", st.Logins, st.Refusals)
		}
	}
	stopApps()
	for range sides {
		<-ended
	}
}

// summary tells what happened and fails where the promise was broken.
func (d *demo) summary(sides []*side) error {
	fmt.Fprintln(d.out, "\nSummary")
	var broken error
	for _, s := range sides {
		st := s.app.Stats()
		fmt.Fprintf(d.out, "  %-18s %d rotations, %d logins, %d refusals, %d other failures\n", s.strategy, s.done, st.Logins, st.Refusals, st.Failures)
		if st.Failures > 0 {
			fmt.Fprintf(d.out, "  %-18s last other failure: %v\n", "", st.Last)
		}
		if len(s.gaps) > 0 {
			slices.Sort(s.gaps)
			fmt.Fprintf(d.out, "  %-18s the old password was dead before the new one could be read for at most: median %v, p99 %v\n", "",
				s.gaps[len(s.gaps)/2].Round(100*time.Microsecond), s.gaps[(len(s.gaps)*99-1)/100].Round(100*time.Microsecond))
		}
		switch {
		case s.failed != nil:
			broken = s.failed
		case s.strategy == secrets.AlternatingUsers && st.Refusals > 0:
			broken = secrets.Errorf(secrets.Denied, "alternating users must never be refused, and were %d times", st.Refusals)
		}
	}
	return broken
}
