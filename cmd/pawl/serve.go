package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
)

// grace is how long a stopping daemon waits for rotations that are past the
// point where stopping helps, the API's requests included. It is under what
// container managers allow before they kill (Kubernetes: 30 s).
const grace = 25 * time.Second

func newServe(g *globals) *cobra.Command {
	var d dev
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon that rotates on schedule, and serve the API",
		Long: `Runs until SIGTERM or SIGINT; requests and rotations under way reach a safe point
first. SIGHUP reads the configuration and the master key again; a bad file is
refused, and the old one stays.

Where server.listen is set it serves AWS Secrets Manager's API, to who signs his
requests with an access key and may do what he asks (pawl access). It does not
start without an administrator, nor, on an address that is not loopback, without
TLS: pawl init --tls makes both.

Any number of daemons may share a database (store.postgres). Each serves every
request, each rotates what is due, and exactly one each secret. They need the
same configuration. One that starts before its database waits for it (--wait).

--dev serves the API in plain HTTP to this machine alone: for development and
tests. It takes any credentials: everybody may do everything, in account
123456789012, or in that of an access key that is 12 digits, and in the region of
his requests. Any key that a secret names comes into being. Without --config
nothing needs to be set up: the store is temporary and removed at the end; with
--config the data stays in that one.`,
		Example: `  pawl serve --config /etc/pawl/pawl.yaml --log-format json
  pawl serve --listen 127.0.0.1:4566
  pawl serve --dev
  pawl serve --dev --listen 127.0.0.1:0 --config pawl.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			a, remove, err := d.open(g, cmd)
			if err != nil {
				return err
			}
			defer remove()
			defer a.Close()
			l, err := d.listener(cmd.Context(), a)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), l, cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&d.on, "dev", false, "serve the API to this machine, with any credentials")
	waitFlag(c, &d.wait, time.Minute)
	c.Flags().StringVar(&d.listen, "listen", "", "HOST:PORT of the API; port 0 is any free one (default server.listen of\nthe configuration, with --dev else "+config.DefaultListen+")")
	return c
}

// serve runs the daemon until ctx ends, with the API on l unless that is nil.
func (a *app) serve(ctx context.Context, l *listening, out io.Writer) error {
	if l != nil {
		defer l.Close()
	}
	// Before anything else: until then a SIGHUP ends the program.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if err := a.audit.open(a.cfg); err != nil {
		return usage(err)
	}
	if l != nil {
		a.functions.served.Store(l.reach(a.cfg)) // before a function is called
	}
	if err := a.declareAndLog(ctx); err != nil {
		return failed(err)
	}
	// Thousands of entries left as much garbage again as all that stays; the
	// daemon will not need that room for a long time.
	debug.FreeOSMemory()
	c := scheduler.Config{Runner: a.runner, Workers: a.cfg.Scheduler.Workers, PerTarget: a.cfg.Scheduler.PerTarget}
	if a.own != nil {
		c.Purge, c.Follow = a.svc.Purge, a.svc.Follow
	}
	sched := scheduler.New(c)
	if a.own != nil {
		a.svc.Attach(sched)
		defer a.svc.Attach(nil)
	}
	if err := sched.Start(ctx); err != nil {
		return failed(err)
	}
	health := a.health(sched)
	defer a.serveHealth(health).Close()
	served := &api{}
	if l != nil {
		served = a.serveAPI(l, health, out)
	}
	if a.own != nil {
		a.checkRegions()
		defer watchClock(ctx, a.store, a.log)()
		defer a.replicating(ctx)()
		defer a.rewrapping(ctx)()
		said := []any{"config", a.cfg.Path, "store", storeName(a.cfg), "declared", len(a.cfg.Secrets)}
		if a.cfg.Store.Postgres != nil {
			said = append(said, "instance", instance())
		}
		a.log.Info("pawl serves", said...)
	} else {
		a.log.Info("pawl serves", "config", a.cfg.Path, "store", "AWS Secrets Manager", "region", a.aws.Region(),
			"declared", len(a.cfg.Secrets), "discover", a.cfg.Store.AWS.Discover)
	}

	defer a.watchMissing(ctx)()

	var broken error
	for broken == nil {
		select {
		case <-hup:
			a.reload(ctx, sched)
			if a.own != nil {
				a.reloadKeys(ctx)
				a.checkRegions()
			}
			continue
		case broken = <-served.ended:
		case <-ctx.Done():
		}
		break
	}
	a.log.Info("stopping; requests and rotations under way go to a safe point")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := served.stop(stop); err != nil {
		a.log.Warn("stopping the API", "error", err)
	}
	if err := sched.Stop(stop); err != nil {
		return failed(err)
	}
	if broken != nil {
		return failed(secrets.Errorf(secrets.Transient, "the API's listener ended: %w", broken))
	}
	a.log.Info("stopped")
	return nil
}

// reload reads the configuration file again. Whatever is wrong with it, the
// daemon goes on with the old one.
func (a *app) reload(ctx context.Context, sched *scheduler.Scheduler) {
	cfg, err := loadFile(a.cfg.Path)
	if err != nil {
		a.log.Error("the configuration was not read again; the old one stays", "error", err)
		return
	}
	if !reflect.DeepEqual(place(cfg.Store), place(a.cfg.Store)) || !reflect.DeepEqual(cfg.KMS, a.cfg.KMS) {
		a.log.Error("the configuration was not read again; the old one stays", "error", "store: and aws_kms: can't change while the daemon runs; restart it")
		return
	}
	if cfg.Account != a.cfg.Account || cfg.Region != a.cfg.Region {
		a.log.Error("the configuration was not read again; the old one stays", "error", "account: and region: can't change while the daemon runs; restart it")
		return
	}
	if err := a.audit.open(cfg); err != nil {
		a.log.Error("the configuration was not applied; the old one stays", "error", err)
		return
	}
	old := a.cfg
	a.cfg = cfg
	a.functions.configure(cfg) // before a rotation names a new one
	if a.own != nil {
		a.own.reconfigure(cfg)
		if err := a.declareAndLog(ctx); err != nil {
			a.cfg = old
			a.own.reconfigure(old)
			a.functions.configure(old)
			_ = a.audit.open(old)
			a.log.Error("the configuration was not applied; the old one stays", "error", err)
			return
		}
	} else {
		a.aws.Reconfigure(awsConfig(cfg, a.log))
	}
	a.steps.pair(cfg)
	sched.Reconfigure(cfg.Scheduler.Workers, cfg.Scheduler.PerTarget)
	if !reflect.DeepEqual(cfg.Server, old.Server) {
		a.log.Warn("server: changed; it takes effect at the next start")
	}
	a.log.Info("configuration read again", "config", cfg.Path, "declared", len(cfg.Secrets))
}

// place is a store without what can change while it is in use.
func place(s config.Store) config.Store {
	if s.AWS != nil {
		s.AWS = &config.AWS{Region: s.AWS.Region, Profile: s.AWS.Profile, Endpoint: s.AWS.Endpoint}
	}
	return s
}

// reloadKeys gets the master key again, which another process may have rotated.
func (a *app) reloadKeys(ctx context.Context) {
	if err := a.keys.Reload(ctx); err != nil {
		a.log.Error("the master key was not read again; the old one stays", "error", err)
	}
}

func (a *app) declareAndLog(ctx context.Context) error {
	report, err := a.declare(ctx)
	if err != nil {
		return err
	}
	logNames(a.log, slog.LevelInfo, "rotation declared", report.Changed)
	logNames(a.log, slog.LevelInfo, "rotation turned off: its entry is gone from the file", report.Removed)
	logNames(a.log, slog.LevelWarn, missingText, report.Missing)
	return nil
}

const missingText = "declared, but there is no such secret yet; create it: pawl secret create NAME"

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
