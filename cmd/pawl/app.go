package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/engines/mysql"
	"github.com/pawlhq/pawl/engines/postgres"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/aws"
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

// app is the program put together: configuration, store, rotator. Of the two
// stores it has one.
type app struct {
	cfg *config.Config
	log *slog.Logger

	*own            // Pawl's own store; nil where AWS is the store
	aws  *aws.Store // AWS Secrets Manager as the store; nil where Pawl has its own

	steps     *stepsFactory
	functions *functions
	audit     *audit
	runner    *scheduler.Runner
}

// load reads the configuration. Errors are of usage.
func (g *globals) load(cmd *cobra.Command) (*config.Config, *slog.Logger, error) {
	log, err := g.logger(cmd.ErrOrStderr())
	if err != nil {
		return nil, nil, err
	}
	path, err := config.Find(g.config)
	if err != nil {
		return nil, nil, usage(err)
	}
	cfg, err := loadFile(path)
	return cfg, log, usage(err)
}

// loadFile reads a configuration file and checks what only this package knows.
func loadFile(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return cfg, cfg.CheckEngines(registry().Names())
}

// open loads the configuration and opens the store. Anything wrong here is
// found before any secret is touched.
func (g *globals) open(cmd *cobra.Command) (*app, error) { return g.openWith(cmd, options{}) }

func (g *globals) openWith(cmd *cobra.Command, o options) (*app, error) {
	cfg, log, err := g.load(cmd)
	if err != nil {
		return nil, err
	}
	a, err := o.assemble(cmd.Context(), cfg, log)
	return a, notOpened(err)
}

// notOpened gives the exit code to an error of opening a store, before any secret
// was touched.
func notOpened(err error) error {
	if err != nil && secrets.KindOf(err) != secrets.Transient {
		return usage(err)
	}
	return failed(err)
}

// options are what some commands have otherwise than the others.
type options struct {
	anyKey bool // a key that a secret names and that is nowhere comes into being
	// shown: the command shows by itself what AWS as the store logs of secrets, and
	// of not being reached.
	shown bool
	wait  time.Duration // how long a database that can't be reached is waited for
}

// assemble builds the program over a configuration.
func assemble(ctx context.Context, cfg *config.Config, log *slog.Logger) (*app, error) {
	return options{}.assemble(ctx, cfg, log)
}

func (o options) assemble(ctx context.Context, cfg *config.Config, log *slog.Logger) (*app, error) {
	a := &app{cfg: cfg, log: log, steps: &stepsFactory{engines: registry()}, functions: &functions{}, audit: &audit{log: log}}
	var plan scheduler.Plan
	clock := wallClock()
	if cfg.Store.AWS != nil {
		said := log
		if o.shown {
			said = slog.New(slog.DiscardHandler)
		}
		store, err := aws.Open(ctx, awsConfig(cfg, said))
		if err != nil {
			return nil, err
		}
		a.aws = store
		a.steps.credentials = store.CredentialsNear
		plan = scheduler.PlanOf(store)
	} else {
		own, err := o.openOwn(ctx, cfg, log, a.functions)
		if err != nil {
			return nil, err
		}
		a.own = own
		a.steps.credentials = own.svc.CredentialsNear
		plan = scheduler.FromService(own.svc)
		clock = own.clock
	}
	a.steps.pair(cfg)
	a.functions.open(a)
	if cfg.Store.Postgres != nil {
		log = log.With("instance", instance()) // whose rotation it is, among several Pawls
	}
	a.runner = &scheduler.Runner{
		Plan:     plan,
		Rotator:  &rotator.Rotator{Steps: a.steps.make, Foreign: a.functions.foreign, Clock: clock},
		Log:      log,
		Listener: a.audit,
	}
	return a, nil
}

// declarations are the file's rotations.
func declarations(cfg *config.Config) []service.Declaration {
	ds := make([]service.Declaration, 0, len(cfg.Secrets))
	for _, s := range cfg.Secrets {
		ds = append(ds, service.Declaration{Name: s.Name, Rules: s.Rules, Source: s.Source()})
	}
	return ds
}

// declare writes the file's rotations into the store. At AWS there is nowhere to
// write them: the store has them from the file.
func (a *app) declare(ctx context.Context) (service.DeclareReport, error) {
	if a.own == nil {
		return service.DeclareReport{}, nil
	}
	ds := declarations(a.cfg)
	slow := time.AfterFunc(time.Second, func() {
		a.log.Info("writing the file's rotations into the store; it takes a while the first time", "entries", len(ds))
	})
	defer slow.Stop()
	return a.svc.Declare(ctx, ds)
}

func (a *app) Close() {
	a.audit.Close()
	if a.own != nil {
		a.own.Close()
	}
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
