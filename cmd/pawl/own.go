package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/replica"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/seal/awskms"
	"github.com/pawlhq/pawl/store/sqlite"
)

// ownStore is a store of Pawl's own: a file, or a database that several Pawls
// share.
type ownStore interface {
	service.Store
	principals.Store
	seal.Store
	// Count returns how many secrets there are in a place, counting no further than
	// most; Schema the version of the schema.
	Count(ctx context.Context, p service.Place, most int) (int, error)
	Schema(ctx context.Context) (int, error)
}

// own is Pawl's own store, with its keys, those who may use it, and the service
// over it all.
type own struct {
	store  ownStore
	clock  clockwork.Clock // of all who share the store
	keys   *seal.Keyring
	people *principals.Directory
	svc    *service.Service
	// regions are those whose replicas are on other servers.
	regions *replica.Regions
}

// openStore opens the store that the configuration names. It must be there.
func openStore(ctx context.Context, cfg *config.Config, log *slog.Logger) (ownStore, error) {
	if cfg.Store.Postgres != nil {
		return openShared(ctx, *cfg.Store.Postgres, log)
	}
	return sqlite.Open(ctx, cfg.Store.SQLite.Path, sqlite.Options{})
}

// openOwn opens Pawl's own store.
func (o options) openOwn(ctx context.Context, cfg *config.Config, log *slog.Logger, f service.Functions) (*own, error) {
	master, err := source(cfg).Load(ctx, os.Getenv)
	if err != nil {
		return nil, err
	}
	kms, err := keysOfAWS(ctx, cfg.KMS)
	if err != nil {
		return nil, err
	}
	s := &own{}
	err = awaitStore(ctx, o.wait, log, func(ctx context.Context) error {
		store, err := openStore(ctx, cfg, log)
		if err != nil {
			return err
		}
		s.keys = seal.New(seal.Config{Master: master, Store: store, KMS: kms, Now: wallClock().Now, CreateMissing: o.anyKey})
		err = s.keys.Verify(ctx, store)
		if err == nil {
			s.clock, err = clockOf(ctx, store)
		}
		if err != nil {
			return errors.Join(err, store.Close())
		}
		s.store = store
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.people = principals.New(principals.Config{Store: s.store, Sealer: s.keys, Now: s.clock.Now, Account: cfg.Account})
	s.regions = replica.New(log, placesOf(cfg))
	s.svc = service.New(service.Config{
		Store: s.store, Sealer: s.keys, Now: s.clock.Now, Random: rand.Reader,
		Account: cfg.Account, Region: cfg.Region,
		MinimumInterval: cfg.Scheduler.MinimumInterval,
		CatchUp:         cfg.Scheduler.CatchUp == config.CatchUpNow,
		DefaultRules:    cfg.Defaults,
		Functions:       f,
		Regions:         s.regions,
		DefaultPort:     defaultPort,
	})
	return s, nil
}

// reconfigure applies what the file says of all secrets.
func (s *own) reconfigure(cfg *config.Config) {
	s.svc.Reconfigure(cfg.Scheduler.MinimumInterval, cfg.Scheduler.CatchUp == config.CatchUpNow, cfg.Defaults)
	s.regions.Reconfigure(placesOf(cfg))
	s.svc.Lag()
}

// Close writes when keys were last used, and closes the store.
func (s *own) Close() {
	s.people.Close()
	s.regions.Close()
	_ = s.store.Close()
}

// source is where the configuration says that the master key is.
func source(cfg *config.Config) seal.Source {
	k, section := cfg.Store.MasterKey(), "store.sqlite"
	if cfg.Store.Postgres != nil {
		section = "store.postgres"
	}
	return seal.Source{File: k.KeyFile, Env: k.KeyEnv, Credential: k.KeyCredential, Command: k.KeyCommand, Section: section}
}

// keysOfAWS is AWS KMS, nil where the configuration has none.
func keysOfAWS(ctx context.Context, c *config.KMS) (seal.KMS, error) {
	if c == nil {
		return nil, nil
	}
	return awskms.New(ctx, awskms.Config{Region: c.Region, Endpoint: c.Endpoint})
}
