package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

func newInit(g *globals) *cobra.Command {
	var dir string
	var storeOnly bool
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration and a key, and make an empty store",
		Long: `Writes pawl.yaml and pawl.key (mode 0600) and makes an empty store beside them.
It never overwrites: if one of the files is there already, nothing is written.

With --store it makes the empty store that an existing configuration names, and
the key file if that is missing too: for a container with an empty volume.`,
		Example: "  pawl init\n  pawl init --dir /etc/pawl\n  pawl init --store --config /etc/pawl/pawl.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			if storeOnly {
				return g.makeStore(cmd)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return usage(err)
			}
			file := func(name string) string { return filepath.Join(dir, name) }
			for _, name := range []string{"pawl.yaml", "pawl.key", "pawl.db"} {
				if _, err := os.Lstat(file(name)); !errors.Is(err, fs.ErrNotExist) {
					if err == nil {
						err = fmt.Errorf("%s exists already; pawl init never overwrites. Use another folder: pawl init --dir D", file(name))
					}
					return usage(err)
				}
			}
			if err := initStore(cmd.Context(), file("pawl.key"), file("pawl.db")); err != nil {
				return usage(err)
			}
			// The configuration comes last: while it is missing nothing uses the rest.
			f, err := os.OpenFile(file("pawl.yaml"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return usage(err)
			}
			if _, err = f.Write(config.Template()); err == nil {
				err = f.Sync()
			}
			if err = errors.Join(err, f.Close()); err != nil {
				return usage(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), `Wrote %s (configuration), %s (encryption key) and %s (empty store).

Back up pawl.key now, apart from pawl.db: without it the secrets in the store
can't be read by anyone, and with both anyone can read them. Back up pawl.db too.

Next:
  pawl secret create NAME --engine postgres --host HOST --username USER
  pawl rotate NAME
`, file("pawl.yaml"), file("pawl.key"), file("pawl.db"))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "folder to write into; made if missing")
	c.Flags().BoolVar(&storeOnly, "store", false, "make only the store that the configuration names")
	c.MarkFlagsMutuallyExclusive("dir", "store")
	return c
}

// makeStore makes the store, and if need be the key, of an existing
// configuration.
func (g *globals) makeStore(cmd *cobra.Command) error {
	path, err := config.Find(g.config)
	if err != nil {
		return usage(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usage(err)
	}
	db := cfg.Store.SQLite.Path
	if _, err := os.Lstat(db); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("the store %s exists already; pawl init never overwrites", db)
		}
		return usage(err)
	}
	if err := initStore(cmd.Context(), cfg.Store.SQLite.KeyFile, db); err != nil {
		return usage(err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Made the empty store %s, encrypted by %s. Back up both, apart from each other.\n", db, cfg.Store.SQLite.KeyFile)
	return nil
}

// temporary makes in dir what init makes, with more lines in the configuration,
// and loads it.
func temporary(ctx context.Context, dir, lines string) (*config.Config, error) {
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := initStore(ctx, file(config.DefaultKeyFile), file(config.DefaultDatabase)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file(config.DefaultFile), append(config.Template(), lines...), 0o600); err != nil {
		return nil, err
	}
	return config.Load(file(config.DefaultFile))
}

// initStore makes an empty store bound to a key, and the key if there is none.
func initStore(ctx context.Context, keyFile, path string) error {
	if _, err := os.Lstat(keyFile); errors.Is(err, fs.ErrNotExist) {
		if err := seal.GenerateKeyFile(keyFile, rand.Reader); err != nil {
			return err
		}
	}
	keys, err := seal.Load(keyFile)
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, path, sqlite.Options{Create: true})
	if err != nil {
		return err
	}
	return errors.Join(keys.Verify(ctx, store), store.Close())
}
