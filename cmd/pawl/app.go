package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/engines/mysql"
	"github.com/pawlhq/pawl/engines/postgres"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/seal/awskms"
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
		return slog.New(newJSONHandler(w, level)), nil
	}
	return nil, usage(fmt.Errorf("--log-format %q is not text or json", g.logFormat))
}

// app is the program put together: configuration, store, service, rotator.
type app struct {
	cfg    *config.Config
	store  *sqlite.Store
	keys   *seal.Keyring
	people *principals.Directory
	svc    *service.Service
	steps  *stepsFactory
	runner *scheduler.Runner
	log    *slog.Logger
}

// open loads the configuration and opens the store. Anything wrong here is
// found before any secret is touched.
func (g *globals) open(cmd *cobra.Command) (*app, error) { return g.openWith(cmd, options{}) }

func (g *globals) openWith(cmd *cobra.Command, o options) (*app, error) {
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
	a, err := o.assemble(cmd.Context(), cfg, log)
	if err != nil && secrets.KindOf(err) != secrets.Transient {
		return nil, usage(err)
	}
	return a, failed(err)
}

// options are what a development server has otherwise than everybody else.
type options struct {
	anyKey bool // a key that a secret names and that is nowhere comes into being
}

// assemble builds the program over a configuration.
func assemble(ctx context.Context, cfg *config.Config, log *slog.Logger) (*app, error) {
	return options{}.assemble(ctx, cfg, log)
}

func (o options) assemble(ctx context.Context, cfg *config.Config, log *slog.Logger) (*app, error) {
	master, err := source(cfg).Load(ctx, os.Getenv)
	if err != nil {
		return nil, err
	}
	kms, err := keysOfAWS(ctx, cfg.KMS)
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, cfg.Store.SQLite.Path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	a := &app{cfg: cfg, store: store, log: log}
	a.keys = seal.New(seal.Config{Master: master, Store: store, KMS: kms, CreateMissing: o.anyKey})
	if err := a.keys.Verify(ctx, store); err != nil {
		store.Close()
		return nil, err
	}
	a.people = principals.New(principals.Config{Store: store, Sealer: a.keys, Account: cfg.Account})
	a.svc = service.New(service.Config{
		Store: store, Sealer: a.keys, Now: time.Now, Random: rand.Reader,
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

// source is where the configuration says that the master key is.
func source(cfg *config.Config) seal.Source {
	k := cfg.Store.SQLite.MasterKey
	return seal.Source{File: k.KeyFile, Env: k.KeyEnv, Credential: k.KeyCredential, Command: k.KeyCommand}
}

// keysOfAWS is AWS KMS, nil where the configuration has none.
func keysOfAWS(ctx context.Context, c *config.KMS) (seal.KMS, error) {
	if c == nil {
		return nil, nil
	}
	return awskms.New(ctx, awskms.Config{Region: c.Region, Endpoint: c.Endpoint})
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

func (a *app) Close() {
	a.people.Close() // writes when keys were last used
	_ = a.store.Close()
}

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
