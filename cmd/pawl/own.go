package main

import (
	"context"
	"crypto/rand"
	"os"
	"time"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/seal/awskms"
	"github.com/pawlhq/pawl/store/sqlite"
)

// own is Pawl's own store, with its keys, those who may use it, and the service
// over it all.
type own struct {
	store  *sqlite.Store
	keys   *seal.Keyring
	people *principals.Directory
	svc    *service.Service
}

// openOwn opens the embedded store.
func (o options) openOwn(ctx context.Context, cfg *config.Config, f service.Functions) (*own, error) {
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
	s := &own{store: store}
	s.keys = seal.New(seal.Config{Master: master, Store: store, KMS: kms, CreateMissing: o.anyKey})
	if err := s.keys.Verify(ctx, store); err != nil {
		store.Close()
		return nil, err
	}
	s.people = principals.New(principals.Config{Store: store, Sealer: s.keys, Account: cfg.Account})
	s.svc = service.New(service.Config{
		Store: store, Sealer: s.keys, Now: time.Now, Random: rand.Reader,
		Account: cfg.Account, Region: cfg.Region,
		MinimumInterval: cfg.Scheduler.MinimumInterval,
		CatchUp:         cfg.Scheduler.CatchUp == config.CatchUpNow,
		DefaultRules:    cfg.Defaults,
		Functions:       f,
		DefaultPort:     defaultPort,
	})
	return s, nil
}

// reconfigure applies what the file says of all secrets.
func (s *own) reconfigure(cfg *config.Config) {
	s.svc.Reconfigure(cfg.Scheduler.MinimumInterval, cfg.Scheduler.CatchUp == config.CatchUpNow, cfg.Defaults)
}

// Close writes when keys were last used, and closes the store.
func (s *own) Close() {
	s.people.Close()
	_ = s.store.Close()
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
