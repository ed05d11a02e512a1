package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/engines/mysql"
	"github.com/pawlhq/pawl/engines/postgres"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// globals are the flags every command has.
type globals struct {
	config, logLevel, logFormat, endpoint string
}

// logger makes the log that goes to w. Errors are of usage.
func (g *globals) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.logLevel)); err != nil {
		return nil, usage(fmt.Errorf("--log-level %q is not debug, info, warn or error", g.logLevel))
	}
	o := &slog.HandlerOptions{Level: level}
	switch g.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, usage(fmt.Errorf("--log-format %q is not text or json", g.logFormat))
}

// app is the program put together: configuration, store, service, rotator.
type app struct {
	cfg    *config.Config
	store  *sqlite.Store
	svc    *service.Service
	steps  *stepsFactory
	runner *scheduler.Runner
	log    *slog.Logger
}

// open loads the configuration and opens the store. Anything wrong here is
// found before any secret is touched.
func (g *globals) open(cmd *cobra.Command) (*app, error) {
	log, err := g.logger(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	path, err := config.Find(g.config)
	if err != nil {
		return nil, usage(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, usage(err)
	}
	if err := cfg.CheckEngines(registry().Names()); err != nil {
		return nil, usage(err)
	}
	a, err := assemble(cmd.Context(), cfg, log)
	if err != nil && secrets.KindOf(err) != secrets.Transient {
		return nil, usage(err)
	}
	return a, failed(err)
}

// assemble builds the program over a configuration.
func assemble(ctx context.Context, cfg *config.Config, log *slog.Logger) (*app, error) {
	keys, err := seal.Load(cfg.Store.SQLite.KeyFile)
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, cfg.Store.SQLite.Path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	if err := keys.Verify(ctx, store); err != nil {
		store.Close()
		return nil, err
	}
	a := &app{cfg: cfg, store: store, log: log}
	a.svc = service.New(service.Config{
		Store: store, Sealer: keys, Now: time.Now, Random: rand.Reader,
		Account: cfg.Account, Region: cfg.Region,
		MinimumInterval: cfg.Scheduler.MinimumInterval,
		CatchUp:         cfg.Scheduler.CatchUp == config.CatchUpNow,
		DefaultRules:    cfg.Defaults,
		DefaultPort:     defaultPort,
	})
	a.steps = &stepsFactory{engines: registry(), svc: a.svc}
	a.steps.pair(cfg)
	a.runner = &scheduler.Runner{
		Plan:    scheduler.FromService(a.svc),
		Rotator: &rotator.Rotator{Steps: a.steps.make, Clock: clockwork.NewRealClock()},
		Log:     log,
	}
	return a, nil
}

// declare writes the file's rotations into the store.
func (a *app) declare(ctx context.Context) (service.DeclareReport, error) {
	ds := make([]service.Declaration, 0, len(a.cfg.Secrets))
	for _, s := range a.cfg.Secrets {
		ds = append(ds, service.Declaration{Name: s.Name, Rules: s.Rules, Source: s.Source()})
	}
	slow := time.AfterFunc(time.Second, func() {
		a.log.Info("writing the file's rotations into the store; it takes a while the first time", "entries", len(ds))
	})
	defer slow.Stop()
	return a.svc.Declare(ctx, ds)
}

func (a *app) Close() { _ = a.store.Close() }

// defaultPort is an engine's, for secrets that name none.
func defaultPort(engine string) int {
	e, err := registry().Lookup(engine)
	if err != nil {
		return 0
	}
	return e.Facts().DefaultPort
}

// registry is every engine there is.
func registry() engines.Registry {
	return engines.NewRegistry(append(mysql.New(), postgres.New())...)
}
