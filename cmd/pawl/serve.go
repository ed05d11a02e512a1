package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/scheduler"
)

// grace is how long a stopping daemon waits for rotations that are past the
// point where stopping helps. It is under what container managers allow before
// they kill (Kubernetes: 30 s).
const grace = 25 * time.Second

func newServe(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon that rotates on schedule",
		Long: `Runs until SIGTERM or SIGINT; rotations under way reach a safe point first.
SIGHUP reads the configuration again; a bad file is refused, and the old one stays.`,
		Example: "  pawl serve --config /etc/pawl/pawl.yaml --log-format json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := g.open(cmd)
			if err != nil {
				return err
			}
			defer a.Close()
			return a.serve(cmd.Context())
		},
	}
}

// serve runs the daemon until ctx ends.
func (a *app) serve(ctx context.Context) error {
	// Before anything else: until then a SIGHUP ends the program.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if err := a.declareAndLog(ctx); err != nil {
		return failed(err)
	}
	sched := scheduler.New(scheduler.Config{
		Runner: a.runner, Purge: a.svc.Purge,
		Workers: a.cfg.Scheduler.Workers, PerTarget: a.cfg.Scheduler.PerTarget,
	})
	if err := sched.Start(ctx); err != nil {
		return failed(err)
	}
	health, err := a.serveHealth(sched)
	if err != nil {
		_ = sched.Stop(ctx)
		return usage(err)
	}
	defer health.Close()
	a.log.Info("pawl serves", "config", a.cfg.Path, "store", a.cfg.Store.SQLite.Path, "declared", len(a.cfg.Secrets))

	for {
		select {
		case <-hup:
			a.reload(ctx, sched)
			continue
		case <-ctx.Done():
		}
		break
	}
	a.log.Info("stopping; rotations under way go to a safe point")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := sched.Stop(stop); err != nil {
		return failed(err)
	}
	a.log.Info("stopped")
	return nil
}

// reload reads the configuration file again. Whatever is wrong with it, the
// daemon goes on with the old one.
func (a *app) reload(ctx context.Context, sched *scheduler.Scheduler) {
	cfg, err := config.Load(a.cfg.Path)
	if err == nil {
		err = cfg.CheckEngines(registry().Names())
	}
	if err != nil {
		a.log.Error("the configuration was not read again; the old one stays", "error", err)
		return
	}
	if *cfg.Store.SQLite != *a.cfg.Store.SQLite {
		a.log.Error("the configuration was not read again; the old one stays", "error", "store: can't change while the daemon runs; restart it")
		return
	}
	old := a.cfg
	a.cfg = cfg
	a.svc.Reconfigure(cfg.Scheduler.MinimumInterval, cfg.Scheduler.CatchUp == config.CatchUpNow, cfg.Defaults)
	if err := a.declareAndLog(ctx); err != nil {
		a.cfg = old
		a.svc.Reconfigure(old.Scheduler.MinimumInterval, old.Scheduler.CatchUp == config.CatchUpNow, old.Defaults)
		a.log.Error("the configuration was not applied; the old one stays", "error", err)
		return
	}
	a.steps.pair(cfg)
	sched.Reconfigure(cfg.Scheduler.Workers, cfg.Scheduler.PerTarget)
	if cfg.Server != old.Server {
		a.log.Warn("server: changed; it takes effect at the next start")
	}
	a.log.Info("configuration read again", "config", cfg.Path, "declared", len(cfg.Secrets))
}

func (a *app) declareAndLog(ctx context.Context) error {
	report, err := a.declare(ctx)
	if err != nil {
		return err
	}
	logNames(a.log, slog.LevelInfo, "rotation declared", report.Changed)
	logNames(a.log, slog.LevelInfo, "rotation turned off: its entry is gone from the file", report.Removed)
	logNames(a.log, slog.LevelWarn, "declared, but there is no such secret yet; create it: pawl secret create NAME", report.Missing)
	return nil
}

// logNames logs a line for each of a few names, and a count of many.
func logNames(log *slog.Logger, level slog.Level, text string, names []string) {
	if len(names) > 10 {
		log.Log(context.Background(), level, text, "secrets", len(names), "first", slices.Clone(names[:3]))
		return
	}
	for _, n := range names {
		log.Log(context.Background(), level, text, "secret", n)
	}
}
