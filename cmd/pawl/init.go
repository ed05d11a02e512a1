package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// administrator is what init calls the first one.
const administrator = "admin"

// everywhere is where a server listens that others than this machine call.
const everywhere = ":4566"

func newInit(g *globals) *cobra.Command {
	var dir string
	var storeOnly bool
	var region, dsn string
	var wait time.Duration
	var t initTLS
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration and a key, and make an empty store",
		Long: `Writes pawl.yaml and pawl.key (mode 0600) and makes an empty store beside them.
It never overwrites: if one of the files is there already, nothing is written.

It makes the first administrator, admin, and prints his access key as lines for a
shell, on standard output alone; it is not shown again.

With --tls it writes a self-signed certificate too, pawl-tls.crt and pawl-tls.key,
good for this machine's names and every --host, and a configuration that serves
the API by it: on this machine's own address, or with a --host on every address.
Clients trust it by the line for AWS_CA_BUNDLE.

With --aws the secrets stay in AWS Secrets Manager, in that region, and Pawl rotates
them there: it writes a configuration and nothing else.

With --postgres the secrets are kept in a PostgreSQL database, which several Pawls
may share: it writes a configuration and a key, and says how to go on. The
password of the database's user does not belong on the command line.

With --store it makes the empty store that an existing configuration names, and
the key file if that is missing too: for a container with an empty volume. A
database must have been made ready by pawl store migrate; there --store binds it
to the key and makes the administrator, unless that has been done before, which is
no error: any number of containers may do so at once, and one prints his key.`,
		Example: `  pawl init
  eval "$(pawl init --tls)"
  pawl init --tls --host secrets.example.com --dir /etc/pawl
  pawl init --aws eu-central-1
  pawl init --postgres postgres://pawl@db.example.com/pawl --dir /etc/pawl
  pawl init --store --config /etc/pawl/pawl.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			if len(t.hosts) > 0 && !t.on {
				return usage(errors.New("--host is for the certificate of --tls: add --tls"))
			}
			switch {
			case storeOnly:
				return g.makeStore(cmd, wait)
			case cmd.Flags().Changed("postgres"):
				return usage(initPostgres(cmd, dir, dsn))
			case cmd.Flags().Changed("aws"):
				return usage(initAWS(cmd, dir, region))
			}
			return usage(initFolder(cmd, dir, t))
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "folder to write into; made if missing")
	c.Flags().BoolVar(&t.on, "tls", false, "make a self-signed certificate, and serve the API by it")
	c.Flags().StringArrayVar(&t.hosts, "host", nil, "with --tls: a further name or address by which clients call the server;\nmay be given several times")
	c.Flags().StringVar(&region, "aws", "", "keep the secrets in AWS Secrets Manager of this region")
	c.Flags().StringVar(&dsn, "postgres", "", "keep the secrets in this database: postgres://USER@HOST/DATABASE")
	waitFlag(c, &wait, 0)
	c.Flags().BoolVar(&storeOnly, "store", false, "make only the store that the configuration names")
	c.MarkFlagsMutuallyExclusive("dir", "store")
	c.MarkFlagsMutuallyExclusive("tls", "store", "aws", "postgres")
	c.MarkFlagsMutuallyExclusive("host", "aws")
	return c
}

// initFolder writes everything into a folder.
func initFolder(cmd *cobra.Command, dir string, t initTLS) error {
	file := func(name string) string { return filepath.Join(dir, name) }
	names := []string{config.DefaultFile, config.DefaultKeyFile, config.DefaultDatabase}
	if t.on {
		names = append(names, config.DefaultCertFile, config.DefaultTLSKey)
	}
	for _, name := range names {
		if err := absent(file(name)); err != nil {
			return err
		}
	}
	text := config.Template()
	var certificate, key []byte
	if t.on {
		var err error
		if certificate, key, err = server.SelfSigned(t.names(), time.Now()); err != nil {
			return err
		}
		text = config.TemplateTLS(t.listen())
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cfg, err := config.Parse(text, file(config.DefaultFile))
	if err != nil {
		return err
	}
	admin, err := initStore(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if t.on {
		if err := create(file(config.DefaultTLSKey), key, 0o600); err != nil {
			return err
		}
		if err := create(file(config.DefaultCertFile), certificate, 0o644); err != nil {
			return err
		}
	}
	// The configuration comes last: while it is missing nothing uses the rest.
	if err := create(file(config.DefaultFile), text, 0o644); err != nil {
		return err
	}
	says := cmd.ErrOrStderr()
	fmt.Fprintf(says, `Wrote %s (configuration), %s (encryption key) and %s (empty store).
`, file(config.DefaultFile), file(config.DefaultKeyFile), file(config.DefaultDatabase))
	if t.on {
		fmt.Fprintf(says, "Wrote %s (certificate for %s) and %s (its key).\n",
			file(config.DefaultCertFile), strings.Join(t.names(), ", "), file(config.DefaultTLSKey))
	}
	fmt.Fprint(says, `
Back up pawl.key now, apart from pawl.db: without it the secrets in the store
can't be read by anyone, and with both anyone can read them. Back up pawl.db too.

Next:
  pawl secret create NAME --engine postgres --host HOST --username USER
  pawl rotate NAME
`)
	if t.on {
		fmt.Fprintf(says, "  pawl serve    # AWS Secrets Manager's API on %s, by HTTPS\n", t.listen())
	}
	if err := printAdministrator(cmd, cfg, admin); err != nil || !t.on {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "export AWS_CA_BUNDLE=%s\n", shellWord(cfg.Server.TLS.CertFile))
	return err
}

// initAWS writes a configuration with AWS as the store into a folder.
func initAWS(cmd *cobra.Command, dir, region string) error {
	path := filepath.Join(dir, config.DefaultFile)
	if err := absent(path); err != nil {
		return err
	}
	text := config.TemplateAWS(region)
	// The template is good; so it is the region where it is not.
	if _, err := config.Parse(text, path); err != nil || region == "" {
		return fmt.Errorf("--aws %q is not the name of a region; write for example --aws eu-central-1", region)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := create(path, text, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), `Wrote %s (configuration). The secrets stay in AWS Secrets Manager of %s; there is
no store of Pawl's own, and no key to keep.

Next, with AWS credentials in the environment (see docs/aws.md for the rights they
need), say in %[1]s which secrets rotate, and then:
  pawl plan
  pawl rotate NAME --dry-run
  pawl rotate NAME
`, path, region)
	return nil
}

// absent refuses to write over a file.
func absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s exists already; pawl init never overwrites. Use another folder: pawl init --dir D", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// printAdministrator tells the access key of the first administrator.
func printAdministrator(cmd *cobra.Command, cfg *config.Config, admin *principals.Credentials) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "\nThe administrator of the API is %s. %s\n", administrator, shownOnce)
	if err := printCredentials(cmd.OutOrStdout(), admin); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "export AWS_REGION=%s AWS_DEFAULT_REGION=%[1]s\n", cfg.Region)
	return err
}

// initTLS are the flags about the certificate.
type initTLS struct {
	on    bool
	hosts []string
}

// listen is where the server is to listen: for this machine alone, unless
// somebody said how others call it.
func (t initTLS) listen() string {
	if len(t.hosts) > 0 {
		return everywhere
	}
	return config.DefaultListen
}

// names are what the certificate is good for: what was asked for first, because
// the first name is the one that pawl serve tells.
func (t initTLS) names() []string {
	names := append(slices.Clone(t.hosts), "localhost", "127.0.0.1", "::1")
	// A machine may be called what no certificate can hold.
	if own, err := os.Hostname(); err == nil && server.IsHostName(own) {
		names = append(names, own)
	}
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// create writes a file that must not be there yet, and has it on the disk when it
// returns.
func create(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// makeStore makes the store, and if need be the key, of an existing
// configuration.
func (g *globals) makeStore(cmd *cobra.Command, wait time.Duration) error {
	path, err := config.Find(g.config)
	if err != nil {
		return usage(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		return usage(err)
	}
	if err := ownOnly(cmd, cfg); err != nil {
		return err
	}
	if cfg.Store.Postgres != nil {
		log, err := g.logger(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		return makeShared(cmd, cfg, log, wait)
	}
	db := cfg.Store.SQLite.Path
	if _, err := os.Lstat(db); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("the store %s exists already; pawl init never overwrites", db)
		}
		return usage(err)
	}
	admin, err := initStore(cmd.Context(), cfg)
	if err != nil {
		return usage(err)
	}
	by := "the master key that the configuration names"
	if f := cfg.Store.SQLite.KeyFile; f != "" {
		by = f
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Made the empty store %s, encrypted by %s. Back up both, apart from each other.\n", db, by)
	return usage(printAdministrator(cmd, cfg, admin))
}

// temporary makes in dir what init makes, but for the administrator, with more
// lines in the configuration, and loads it.
func temporary(ctx context.Context, dir, lines string) (*config.Config, error) {
	path := filepath.Join(dir, config.DefaultFile)
	if err := os.WriteFile(path, append(config.Template(), lines...), 0o600); err != nil {
		return nil, err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	store, _, err := emptyStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return cfg, store.Close()
}

// initStore makes an empty store with an administrator, and returns his access
// key.
func initStore(ctx context.Context, cfg *config.Config) (*principals.Credentials, error) {
	store, keys, err := emptyStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	admin, err := makeAdministrator(ctx, principals.New(principals.Config{Store: store, Sealer: keys, Account: cfg.Account}))
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	return admin, nil
}

// makeAdministrator makes the first one, and returns his access key.
func makeAdministrator(ctx context.Context, people *principals.Directory) (*principals.Credentials, error) {
	_, admin, err := people.Create(ctx, principals.NewPrincipal{
		Name:     administrator,
		Policies: []principals.Policy{{Name: administratorPolicy, Document: principals.AdministratorPolicy}},
	})
	return admin, err
}

// emptyStore makes an empty store bound to its key, and the key if it is to be in
// a file that is not there.
func emptyStore(ctx context.Context, cfg *config.Config) (*sqlite.Store, *seal.Keyring, error) {
	if f := cfg.Store.SQLite.KeyFile; f != "" {
		if _, err := os.Lstat(f); errors.Is(err, fs.ErrNotExist) {
			if err := seal.GenerateKeyFile(f, rand.Reader); err != nil {
				return nil, nil, err
			}
		}
	}
	master, err := source(cfg).Load(ctx, os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlite.Open(ctx, cfg.Store.SQLite.Path, sqlite.Options{Create: true})
	if err != nil {
		return nil, nil, err
	}
	keys := seal.New(seal.Config{Master: master, Store: store})
	if err := keys.Verify(ctx, store); err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, keys, nil
}
