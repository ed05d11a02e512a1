package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/store/postgres"
)

// migrated is `store migrate --json`.
type migrated struct {
	Store   string `json:"Store"`
	From    int    `json:"FromVersion"` // 0 = there was no schema
	To      int    `json:"ToVersion"`
	Granted string `json:"GrantedTo,omitempty"`
}

func newStoreMigrate(g *globals) *cobra.Command {
	var user, passwordFile string
	var wait time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Make a database ready to be the store, or bring it up to date",
		Long: `Makes the schema "pawl" in the database of store.postgres, or brings it to this
Pawl's version: forward only, never back. It changes nothing where there is nothing
to do, and any number may run at once. For an upgrade run it, by the new program,
before the daemons are replaced: those that run go on over a newer schema, but one
that starts refuses another than its own.

It logs in as the user of the DSN, who must then be allowed to create a schema in
the database; with --user as somebody else, who comes to own the schema, and the
user of the DSN gets the rights that a running Pawl needs and no more.

Exit code 3 when the database can't be reached, which --wait waits for; 2 when the
login is refused, a right is missing, or the schema is of a newer Pawl.`,
		Example: `  pawl store migrate
  pawl store migrate --user pawl_owner --password-file owner.password
  pawl store migrate --wait 1m --json --config /etc/pawl/pawl.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if passwordFile != "" && user == "" {
				return usage(errors.New("--password-file is for --user: add it; the password of the DSN's own user is store.postgres.password_file"))
			}
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			cfg, log, err := g.load(cmd)
			if err != nil {
				return err
			}
			if err := sharedOnly(cmd, cfg); err != nil {
				return err
			}
			p := *cfg.Store.Postgres
			out := migrated{Store: storeName(cfg)}
			if user != "" && user != p.User() {
				out.Granted = p.User()
			}
			if user != "" {
				p = p.As(user)
				p.PasswordFile = passwordFile
			}
			c, err := sharedConfig(p, log)
			if err != nil {
				return usage(err)
			}
			err = awaitStore(cmd.Context(), wait, log, func(ctx context.Context) (err error) {
				out.From, out.To, err = postgres.Migrate(ctx, c, out.Granted)
				return err
			})
			if err != nil {
				return notOpened(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), out)
			}
			w := cmd.OutOrStdout()
			switch {
			case out.From == out.To:
				fmt.Fprintf(w, "The schema of %s is at version %d already.\n", out.Store, out.To)
			case out.From == 0:
				fmt.Fprintf(w, "Made the schema of %s: version %d.\n", out.Store, out.To)
			default:
				fmt.Fprintf(w, "Brought the schema of %s from version %d to %d.\n", out.Store, out.From, out.To)
			}
			if out.Granted != "" {
				fmt.Fprintf(w, "%s has the rights there that a running Pawl needs.\n", out.Granted)
			}
			return nil
		},
	}
	c.Flags().StringVar(&user, "user", "", "log in as this user of the database (default: the one in store.postgres.dsn)")
	c.Flags().StringVar(&passwordFile, "password-file", "", "file with the password of --user, mode 0600")
	waitFlag(c, &wait, 0)
	jsonFlag(c, &asJSON)
	return c
}

// sharedOnly refuses a command that is for a database where the store is none.
func sharedOnly(cmd *cobra.Command, cfg *config.Config) error {
	switch {
	case cfg.Store.AWS != nil:
		return ownOnly(cmd, cfg)
	case cfg.Store.SQLite != nil:
		return usage(fmt.Errorf("%s is for a database that is the store (store.postgres), and %s has a file, which brings itself up to date when it is opened", cmd.CommandPath(), cfg.Path))
	}
	return nil
}
