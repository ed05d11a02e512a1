package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/client"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/aws"
)

// awsConfig is what the file says of AWS as the store.
func awsConfig(cfg *config.Config, log *slog.Logger) aws.Config {
	c := cfg.Store.AWS
	return aws.Config{
		Region: c.Region, Profile: c.Profile, Endpoint: c.Endpoint,
		Declared: declarations(cfg), Discover: c.Discover, Defaults: cfg.Defaults, Pairings: cfg.Superusers,
		MinimumInterval: cfg.Scheduler.MinimumInterval, CatchUp: cfg.Scheduler.CatchUp == config.CatchUpNow,
		Refresh: c.Refresh, RateLimits: c.RateLimits,
		DefaultPort: defaultPort, Log: log,
	}
}

// atAWS is where `pawl secret` acts, and the rest, with AWS as the store.
func (a *app) atAWS(ctx context.Context) (*target, error) {
	c := a.cfg.Store.AWS
	at, err := client.AWS{Endpoint: c.Endpoint, Region: a.aws.Region(), Profile: c.Profile, Store: true}.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &target{keeper: at, planner: listing{a.aws, a.log}, app: a}, nil
}

// listing is a Store at AWS as a planner, that says so when AWS lists for long.
type listing struct {
	*aws.Store
	log *slog.Logger
}

func (l listing) Plan(ctx context.Context, until time.Time, yield func(service.RotationStatus) error) error {
	slow := time.AfterFunc(time.Second, func() {
		l.log.Info("AWS Secrets Manager lists the secrets, a hundred at a time", "region", l.Region())
	})
	defer slow.Stop()
	return l.Store.Plan(ctx, until, yield)
}

// missingEvery is how often the daemon looks which secrets AWS does not have. It
// asks nobody for it.
const missingEvery = time.Second

// watchMissing logs, in the background, which of the file's secrets were in no
// listing of AWS's, each name once until it has been there. stop returns when it
// has ended. Pawl's own store says so when they are declared.
func (a *app) watchMissing(ctx context.Context) (stop func()) {
	if a.aws == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(missingEvery)
		defer tick.Stop()
		var told []string
		for {
			now := a.aws.Missing()
			logNames(a.log, slog.LevelWarn, missingText, slices.DeleteFunc(slices.Clone(now), func(name string) bool {
				return slices.Contains(told, name)
			}))
			told = now
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// ownOnly refuses a command that works on Pawl's own store where AWS is the store.
func ownOnly(cmd *cobra.Command, cfg *config.Config) error {
	if cfg.Store.AWS == nil {
		return nil
	}
	return usage(fmt.Errorf("%s works on Pawl's own store, and %s has AWS as the store: "+
		"who may do what is said by IAM there, and keys are those of AWS KMS", cmd.CommandPath(), cfg.Path))
}
