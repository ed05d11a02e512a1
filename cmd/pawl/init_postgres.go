package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

// initPostgres writes a configuration with a database as the store, and a key,
// into a folder.
func initPostgres(cmd *cobra.Command, dir, dsn string) error {
	path, key := filepath.Join(dir, config.DefaultFile), filepath.Join(dir, config.DefaultKeyFile)
	password := filepath.Join(dir, config.DefaultPasswordFile)
	for _, name := range []string{path, key} {
		if err := absent(name); err != nil {
			return err
		}
	}
	if (config.Postgres{DSN: dsn}).HasPassword() {
		return fmt.Errorf("--postgres has a password in it, where the list of processes and the shell's history show it; leave it out, and write it into %s", password)
	}
	text := config.TemplatePostgres(dsn)
	cfg, err := config.Parse(text, path)
	if ps, ok := errors.AsType[config.Problems](err); ok {
		return fmt.Errorf("--postgres %s", ps[0].Text) // the template is good; so it is the DSN
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := seal.GenerateKeyFile(key, rand.Reader); err != nil {
		return err
	}
	if err := create(path, text, 0o644); err != nil {
		return err
	}
	p := cfg.Store.Postgres
	fmt.Fprintf(cmd.ErrOrStderr(), `Wrote %[1]s (configuration) and %[2]s (encryption key).

Back up pawl.key now, apart from the database: without it the secrets in there
can't be read by anyone, and with both anyone can read them. Every Pawl on this
database needs the same two files, and the password.

Next:
  write the password of %[3]s into %[4]s (mode 0600); where
      the database asks for none, take the line password_file out of %[1]s
  pawl store migrate --config %[5]s    # makes the schema; if %[3]s may not do
      that in the database, as somebody who may: --user OWNER --password-file FILE
  pawl init --store --config %[5]s     # binds it to the key, makes the administrator;
      or, to bring along what a store has: pawl store copy --from OLD.yaml --to %[5]s
  pawl serve --config %[5]s
`, path, key, p.User(), password, shellWord(path))
	return nil
}

// makeShared binds an empty store in a database to its key and makes the
// administrator, as far as that has not been done before.
func makeShared(cmd *cobra.Command, cfg *config.Config, log *slog.Logger, wait time.Duration) error {
	var admin *principals.Credentials
	err := awaitStore(cmd.Context(), wait, log, func(ctx context.Context) (err error) {
		store, err := openShared(ctx, *cfg.Store.Postgres, log)
		if err != nil {
			return err
		}
		defer store.Close()
		keys, err := bind(ctx, cfg, store)
		if err != nil {
			return err
		}
		people := principals.New(principals.Config{Store: store, Sealer: keys, Account: cfg.Account})
		there, err := people.Administrator(ctx)
		if there || err != nil {
			return err
		}
		if admin, err = makeAdministrator(ctx, people); err == nil {
			return nil
		}
		// Somebody else may have made him meanwhile.
		if there, again := people.Administrator(ctx); again == nil && there {
			return nil
		}
		return err
	})
	if err != nil {
		return notOpened(err)
	}
	by := "the master key that the configuration names"
	if f := cfg.Store.MasterKey().KeyFile; f != "" {
		by = f
	}
	says := cmd.ErrOrStderr()
	if admin == nil {
		fmt.Fprintf(says, `The store, %s, is made already: it is encrypted by %s
and has an administrator. If nobody has his access key any more:
  pawl access rotate-key %s --config %s
`, storeName(cfg), by, administrator, shellWord(cfg.Path))
		return nil
	}
	fmt.Fprintf(says, "Made the store, %s, encrypted by %s. Back up both, apart from each other.\n", storeName(cfg), by)
	return usage(printAdministrator(cmd, cfg, admin))
}

// bind binds a store to the master key, or makes sure that it is bound to this
// one.
func bind(ctx context.Context, cfg *config.Config, store ownStore) (*seal.Keyring, error) {
	made, err := ensureKeyFile(ctx, cfg, store)
	if err != nil {
		return nil, err
	}
	master, err := source(cfg).Load(ctx, os.Getenv)
	if err != nil {
		return nil, err
	}
	keys := seal.New(seal.Config{Master: master, Store: store})
	err = keys.Verify(ctx, store)
	if made && secrets.CodeOf(err) == "DecryptionFailure" {
		// Another machine was quicker to bind the store to a key of its own. This one
		// has encrypted nothing, and must not be taken for the store's.
		return nil, errors.Join(err, os.Remove(cfg.Store.MasterKey().KeyFile))
	}
	return keys, err
}

// ensureKeyFile makes the key file that is not there, but only for a store that
// nobody has bound to a key yet.
func ensureKeyFile(ctx context.Context, cfg *config.Config, store ownStore) (made bool, err error) {
	file := cfg.Store.MasterKey().KeyFile
	missing := func() bool {
		_, err := os.Lstat(file)
		return file != "" && errors.Is(err, fs.ErrNotExist)
	}
	if !missing() {
		return false, nil
	}
	named, err := store.NamedKeys(ctx)
	switch {
	case err != nil:
		return false, err
	case len(named) == 0:
		return newKeyFile(file)
	case missing(): // still: who bound the store was no neighbour
		return false, secrets.Errorf(secrets.Invalid, "the key file %s does not exist, and %s is encrypted by a key already", file, storeName(cfg)).
			WithHint("copy the key file from where the store was made, or from its backup")
	}
	return false, nil
}

// newKeyFile makes a key file that is whole as soon as it is there: others may be
// about to read it. made is false where one of them was quicker.
func newKeyFile(path string) (made bool, err error) {
	temp := path + "." + rand.Text() // a container's process id may be another one's too
	if err := seal.GenerateKeyFile(temp, rand.Reader); err != nil {
		return false, err
	}
	err = os.Link(temp, path)
	if removed := os.Remove(temp); err == nil {
		err = removed
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrExist):
		return false, nil
	}
	// A file system without hard links.
	return true, seal.GenerateKeyFile(path, rand.Reader)
}
