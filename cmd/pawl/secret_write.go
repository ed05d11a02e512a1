package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// valueFlags are the ways to hand over a value. None is a plain argument: those
// show in the process list and in the shell's history.
type valueFlags struct {
	text, binary string
}

func (v *valueFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&v.text, "value-file", "", "file with the value as text; - reads standard input")
	c.Flags().StringVar(&v.binary, "binary-file", "", "file with the value as binary; - reads standard input")
}

// read returns the value. Errors are of usage: nothing was touched yet.
func (v *valueFlags) read(cmd *cobra.Command) (secrets.Value, error) {
	if (v.text == "") == (v.binary == "") {
		return secrets.Value{}, usage(errors.New("give the value by --value-file F or --binary-file F (- reads standard input)"))
	}
	name := v.text + v.binary
	var data []byte
	var err error
	if name == "-" {
		if f, tty := terminal(cmd.InOrStdin()); tty {
			fmt.Fprintln(cmd.ErrOrStderr(), "Reading the value from the terminal; end it with Ctrl-D.")
			data, err = io.ReadAll(f)
		} else {
			data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), secrets.MaxValueBytes+1))
		}
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return secrets.Value{}, usage(err)
	}
	val := secrets.Text(string(data))
	if v.binary != "" {
		val = secrets.Binary(data)
	}
	return val, usage(val.Validate())
}

// databaseFlags describe a database login for a person who creates a secret by
// hand.
type databaseFlags struct {
	engine, host, username, dbname, masterARN string
	port                                      int
	passwordStdin                             bool
}

func (d *databaseFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&d.engine, "engine", "", "kind of server: "+strings.Join(registry().Names(), ", "))
	f.StringVar(&d.host, "host", "", "the server's host name")
	f.IntVar(&d.port, "port", 0, "the server's port (default: the engine's)")
	f.StringVar(&d.username, "username", "", "the user whose password is kept")
	f.StringVar(&d.dbname, "dbname", "", "the database to log in to")
	f.StringVar(&d.masterARN, "masterarn", "", "ARN or name of the superuser's secret")
	f.BoolVar(&d.passwordStdin, "password-stdin", false, "read the password from standard input instead of asking")
	c.MarkFlagsRequiredTogether("engine", "host", "username")
}

// complete refuses parts of a login without its engine: they would be dropped.
func (d *databaseFlags) complete(cmd *cobra.Command) error {
	for _, name := range []string{"port", "dbname", "masterarn", "password-stdin"} {
		if cmd.Flags().Changed(name) && d.engine == "" {
			return usage(fmt.Errorf("--%s goes with --engine, --host and --username", name))
		}
	}
	return nil
}

// read asks for the password without echo and builds the secret's JSON.
func (d *databaseFlags) read(cmd *cobra.Command) (secrets.Value, error) {
	if _, err := registry().Lookup(d.engine); err != nil {
		return secrets.Value{}, usage(err)
	}
	if d.port < 0 || d.port > 65535 {
		return secrets.Value{}, usage(fmt.Errorf("--port %d is not a port number from 1 to 65535", d.port))
	}
	var pw []byte
	var err error
	if f, tty := terminal(cmd.InOrStdin()); tty && !d.passwordStdin {
		fmt.Fprintf(cmd.ErrOrStderr(), "Present password of %s on %s: ", d.username, d.host)
		pw, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
	} else if d.passwordStdin {
		pw, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), secrets.MaxValueBytes))
		pw = []byte(strings.TrimRight(string(pw), "\r\n"))
	} else {
		err = errors.New("standard input is not a terminal: give the password by --password-stdin, or the whole value by --value-file")
	}
	if err != nil {
		return secrets.Value{}, usage(err)
	}
	if len(pw) == 0 {
		return secrets.Value{}, usage(errors.New("the password is empty"))
	}
	c := secrets.NewCredentials("engine", d.engine, "host", d.host)
	if d.port != 0 {
		c = c.WithNumber("port", strconv.Itoa(d.port))
	}
	c = c.With("username", d.username).With("password", string(pw))
	if d.dbname != "" {
		c = c.With("dbname", d.dbname)
	}
	if d.masterARN != "" {
		c = c.With("masterarn", d.masterARN)
	}
	return c.Value(), nil
}

func newSecretCreate(g *globals) *cobra.Command {
	var in service.CreateSecretInput
	var v valueFlags
	var d databaseFlags
	var tags []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a secret",
		Long: `Creates a secret from a file, from standard input, or from a database login
whose password is asked for without echo. The value never is an argument:
arguments show in the process list.`,
		Example: `  pawl secret create prod/app --engine postgres --host db.example.com --username app --dbname shop
  pawl secret create prod/app --value-file app.json --tag team=shop
  generate | pawl secret create prod/blob --binary-file -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if err := secrets.ValidateName(in.Name); err != nil {
				return usage(err)
			}
			if err := d.complete(cmd); err != nil {
				return err
			}
			var err error
			if in.Tags, err = parseTags(tags); err != nil {
				return err
			}
			t, err := g.target(cmd)
			if err != nil {
				return err
			}
			defer t.Close()
			var value secrets.Value
			if d.engine != "" {
				value, err = d.read(cmd)
			} else {
				value, err = v.read(cmd)
			}
			if err != nil {
				return err
			}
			// Before it exists: an entry of the file then applies to it at once.
			if _, err := t.declare(cmd.Context()); err != nil {
				return failed(err)
			}
			in.ClientRequestToken, in.GivenValue = newToken(), service.Give(value)
			out, err := t.CreateSecret(cmd.Context(), in)
			if err != nil {
				return failed(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), out)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Created %s, version %s.\n", out.Name, out.VersionID)
			return nil
		},
	}
	v.register(c)
	d.register(c)
	c.MarkFlagsMutuallyExclusive("value-file", "binary-file", "engine")
	c.Flags().StringVar(&in.Description, "description", "", "what the secret is for")
	c.Flags().StringVar(&in.KmsKeyID, "kms-key-id", "", "key that encrypts it: alias/NAME, a key's id, or the ARN of either (default: the master key)")
	c.Flags().StringArrayVar(&tags, "tag", nil, "KEY=VALUE; may be given several times")
	jsonFlag(c, &asJSON)
	return c
}

func newSecretPut(g *globals) *cobra.Command {
	var in service.PutSecretValueInput
	var v valueFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "put NAME",
		Short: "Store a new value of a secret",
		Long: `Stores a new version. Without --stage it becomes AWSCURRENT, and a rotation that
is under way is abandoned; Pawl changes no server for it: the value must be the
one that the server knows.`,
		Example: "  pawl secret put prod/app --value-file app.json\n  pawl secret put prod/app --value-file - < app.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.SecretID = args[0]
			value, err := v.read(cmd)
			if err != nil {
				return err
			}
			in.GivenValue = service.Give(value)
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				if in.ClientRequestToken == "" {
					in.ClientRequestToken = newToken()
				}
				out, err := t.PutSecretValue(ctx, in)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Stored version %s of %s: %s.\n", out.VersionID, out.Name, strings.Join(out.VersionStages, ", "))
				return nil
			})
		},
	}
	v.register(c)
	c.Flags().StringArrayVar(&in.VersionStages, "stage", nil, "staging label for the new version instead of AWSCURRENT; may be given several times")
	c.Flags().StringVar(&in.ClientRequestToken, "client-request-token", "", "id of the new version, 32 to 64 characters (default: random); repeating it is harmless")
	jsonFlag(c, &asJSON)
	return c
}

// newToken makes a random version id.
func newToken() string {
	id, err := service.NewVersionID(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand never fails: it would have ended the program
	}
	return id
}
