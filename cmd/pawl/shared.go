package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/postgres"
)

// openShared opens the store in a database.
func openShared(ctx context.Context, p config.Postgres, log *slog.Logger) (ownStore, error) {
	c, err := sharedConfig(p, log)
	if err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, c)
	if err != nil {
		return nil, err // and no interface that holds a nil
	}
	return store, nil
}

// sharedConfig is what the configuration says of the database. The password is read
// from where it is for each new connection, so that it can be changed while Pawl
// runs; that it is there is made sure of now.
func sharedConfig(p config.Postgres, log *slog.Logger) (postgres.Config, error) {
	c := postgres.Config{DSN: p.DSN, MaxConnections: p.MaxConnections, Log: log}
	switch {
	case p.PasswordFile != "":
		c.PasswordNow = func() (secrets.Password, error) {
			return secretText(p.PasswordFile, "the database's password (store.postgres.password_file)",
				fmt.Sprintf("write the password of %s into %s, mode 0600; or take password_file out where the database asks for none", p.User(), p.PasswordFile))
		}
	case p.PasswordEnv != "":
		c.PasswordNow = func() (secrets.Password, error) {
			if text := os.Getenv(p.PasswordEnv); text != "" {
				return secrets.NewPassword(text), nil
			}
			return secrets.Password{}, secrets.Errorf(secrets.Invalid, "the database's password: the environment variable %s is not set", p.PasswordEnv).
				WithHint("set it to the password of %s (store.postgres.password_env)", p.User())
		}
	default:
		return c, nil
	}
	_, err := c.PasswordNow()
	return c, err
}

// storeName says which store of Pawl's own it is.
func storeName(cfg *config.Config) string {
	if p := cfg.Store.Postgres; p != nil {
		return p.String()
	}
	return cfg.Store.SQLite.Path
}

// instance is this process among those that share a store.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

func waitFlag(c *cobra.Command, into *time.Duration, usual time.Duration) {
	c.Flags().DurationVar(into, "wait", usual, "how long to wait for a database (store.postgres) that can't be reached yet")
}

// How a database that can't be reached is waited for.
const (
	firstWait = 200 * time.Millisecond
	longest   = 3 * time.Second
	tellEvery = 5 * time.Second
)

// awaitStore calls open until it goes well, or fails for a reason that waiting
// does not cure, or has been waited for so long; it says so every few seconds.
// Daemons and their database are often started together.
func awaitStore(ctx context.Context, wait time.Duration, log *slog.Logger, open func(context.Context) error) error {
	if wait <= 0 {
		return open(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var last error
	var told time.Time
	try := func() error {
		err := open(limited)
		if err != nil && secrets.KindOf(err) != secrets.Transient {
			last = nil // this is why
			return backoff.Permanent(err)
		}
		if limited.Err() == nil || last == nil {
			last = err // and not that time was up
		}
		return err
	}
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstWait), backoff.WithMaxInterval(longest), backoff.WithMaxElapsedTime(0))
	err := backoff.RetryNotify(try, backoff.WithContext(b, limited), func(err error, _ time.Duration) {
		if limited.Err() == nil && time.Since(told) >= tellEvery {
			told = time.Now()
			log.Warn("the store can't be reached yet; trying again", "for", wait, "error", err)
		}
	})
	switch {
	case err == nil || last == nil:
		return err
	case ctx.Err() != nil:
		return secrets.Prefixed(last, "stopped while waiting for the store")
	}
	return secrets.Prefixed(last, "waited %v for the store", wait)
}
