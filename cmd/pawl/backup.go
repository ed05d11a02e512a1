package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/store/backup"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// standard is how a file is called that is the standard input or output.
const standard = "-"

// backupView is `backup --json`, and a part of `restore --json`.
type backupView struct {
	File       string     `json:"File"` // "-" for standard input or output
	Created    *time.Time `json:"CreationDate"`
	Format     int        `json:"Format"`
	Schema     int        `json:"SchemaVersion"`
	MasterKey  string     `json:"MasterKeyId,omitempty"`
	Secrets    int        `json:"Secrets"`
	Values     int        `json:"Values"`
	Principals int        `json:"Principals"`
	Keys       int        `json:"Keys"`
}

func viewOfBackup(file string, c *backup.Contents) backupView {
	return backupView{file, some(c.Created), c.Format, c.Schema, c.MasterKey, c.Size.Secrets, c.Size.Values, c.Size.Principals, max(c.Size.Keys-1, 0)}
}

// holds says what is in a backup.
func (v backupView) holds() string {
	return fmt.Sprintf("%s with %s, %s, %s", numbered(v.Secrets, "secret"), numbered(v.Values, "value"), numbered(v.Principals, "user or role"), numbered(v.Keys, "named key"))
}

// numbered is how many there are of something.
func numbered(n int, one string) string {
	if one == "user or role" && n != 1 {
		return fmt.Sprintf("%d users and roles", n)
	}
	if n != 1 {
		one += "s"
	}
	return fmt.Sprintf("%d %s", n, one)
}

func newBackup(g *globals) *cobra.Command {
	var recipients []string
	var force, verify, asJSON bool
	var identity string
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything in the store into one encrypted file",
		Long: `Writes all that the store holds at one moment into FILE, while servers go on: every
secret with all its values and labels, rotations, policies, users, roles and keys.
FILE is encrypted by the master key, and only the master key opens it again: keep a
copy of the key file, as it is now, and keep it apart. FILE is - for standard output.

With --recipient the owner of that age key can read FILE too, by age or by
--identity: which secrets there are, and all that is known of them. The values stay
encrypted by the master key.

With --verify it writes nothing but reads FILE to its end and opens every value in
it. pawl restore makes a store of it again. Where the store is a PostgreSQL database,
that one's own tools make backups: see docs/backup.md.`,
		Example: `  pawl backup /backup/pawl.age
  pawl backup --force /backup/pawl.age --recipient age1…
  pawl backup -
  pawl backup --verify /backup/pawl.age`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := g.embedded(cmd, "pg_dump, or base backups and its write-ahead log, back it up (docs/backup.md)")
			if err != nil {
				return err
			}
			var c *backup.Contents
			if verify {
				if force || len(recipients) > 0 {
					return usage(errors.New("--verify writes nothing: leave --force and --recipient out"))
				}
				c, err = verifyBackup(cmd, cfg, args[0], identity)
			} else {
				if identity != "" {
					return usage(errors.New("--identity opens a backup: add --verify; to let somebody read it name his public key: --recipient"))
				}
				c, err = writeBackup(cmd, cfg, args[0], recipients, force)
			}
			if err != nil {
				return failed(err)
			}
			view, w := viewOfBackup(args[0], c), cmd.OutOrStdout()
			if args[0] == standard && !verify {
				w = cmd.ErrOrStderr() // the other one has the backup
			}
			switch {
			case asJSON:
				return printJSON(w, view)
			case verify:
				fmt.Fprintf(w, "The backup is whole, and every value in it opens: %s, as of %s.\n", view.holds(), when(c.Created))
			default:
				fmt.Fprintf(w, "Wrote %s.\nOnly master key %s opens it (%s): keep a copy of that too, apart from it.\n", view.holds(), c.MasterKey, source(cfg))
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&recipients, "recipient", nil, "public key of age's (age1…) whose owner can read the file too;\nmay be given several times")
	f.BoolVar(&force, "force", false, "replace FILE if it is there")
	f.BoolVar(&verify, "verify", false, "read FILE, and open every value in it")
	f.StringVar(&identity, "identity", "", "with --verify: file with the age key of a --recipient, where the master key\ndoes not open FILE")
	jsonFlag(c, &asJSON)
	return c
}

// embedded loads the configuration of a command that is for the embedded store
// alone. otherwise says how a database is looked after.
func (g *globals) embedded(cmd *cobra.Command, otherwise string) (*config.Config, error) {
	if err := g.hereOnly(cmd); err != nil {
		return nil, err
	}
	cfg, _, err := g.load(cmd)
	if err == nil {
		err = ownOnly(cmd, cfg)
	}
	if err == nil && cfg.Store.SQLite == nil {
		err = usage(fmt.Errorf("%s is for the store in a file, and %s has a database: %s", cmd.CommandPath(), cfg.Path, otherwise))
	}
	return cfg, err
}

func writeBackup(cmd *cobra.Command, cfg *config.Config, file string, recipients []string, force bool) (*backup.Contents, error) {
	ctx := cmd.Context()
	b := backup.Writer{Now: wallClock().Now}
	for _, text := range recipients {
		r, err := backup.ParseRecipient(text)
		if err != nil {
			return nil, usage(fmt.Errorf("--recipient: %w", err))
		}
		b.Recipients = append(b.Recipients, r)
	}
	if _, tty := terminal(cmd.OutOrStdout()); tty && file == standard {
		return nil, usage(errors.New("a backup is no text for a terminal: redirect it, or name a file"))
	}
	if err := notItself(cfg, file); err != nil {
		return nil, usage(err)
	}
	store, keys, err := openEmbedded(ctx, cfg)
	if err != nil {
		return nil, notOpened(err)
	}
	defer store.Close()
	b.Store, b.Keys = store, keys
	m := newMeter(cmd.ErrOrStderr(), "writing")
	b.Progress = m.report
	defer m.end()
	var c *backup.Contents
	write := func(w io.Writer) (err error) {
		c, err = b.Write(ctx, w)
		return err
	}
	if file == standard {
		return c, write(cmd.OutOrStdout())
	}
	err = backup.WriteFile(file, force, write)
	return c, err
}

// notItself refuses to put a backup in the place of what it is of, or of what opens
// it, which --force would do.
func notItself(cfg *config.Config, file string) error {
	if file == standard {
		return nil
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	there, _ := os.Lstat(path)
	p := cfg.Store.SQLite.Path
	for of, what := range map[string]string{
		p: "the store itself", p + "-wal": "a part of the store", p + "-shm": "a part of the store", p + ".lock": "a part of the store",
		cfg.Store.MasterKey().KeyFile: "the master key, without which no backup opens", cfg.Path: "the configuration",
	} {
		if of == "" {
			continue
		}
		if of, err = filepath.Abs(of); err != nil {
			return err
		}
		info, err := os.Stat(of)
		if of == path || err == nil && there != nil && os.SameFile(info, there) {
			return fmt.Errorf("%s is %s: name another file", file, what)
		}
	}
	return nil
}

// openEmbedded opens the store in a file, with its keys.
func openEmbedded(ctx context.Context, cfg *config.Config) (*sqlite.Store, *seal.Keyring, error) {
	master, err := source(cfg).Load(ctx, os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlite.Open(ctx, cfg.Store.SQLite.Path, sqlite.Options{})
	if err != nil {
		return nil, nil, err
	}
	keys := seal.New(seal.Config{Master: master, Store: store, Now: wallClock().Now})
	if err := keys.Verify(ctx, store); err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, keys, nil
}

func verifyBackup(cmd *cobra.Command, cfg *config.Config, file, identity string) (*backup.Contents, error) {
	m := newMeter(cmd.ErrOrStderr(), "reading")
	defer m.end()
	r, src, err := readerOf(cmd, cfg, file, identity)
	if err != nil {
		return nil, usage(err)
	}
	defer src.Close()
	r.Progress = m.report
	return r.Verify(cmd.Context(), src)
}

// readerOf opens a backup, with the master key that the configuration names.
func readerOf(cmd *cobra.Command, cfg *config.Config, file, identity string) (*backup.Reader, io.ReadCloser, error) {
	master, err := source(cfg).Load(cmd.Context(), os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	kms, err := keysOfAWS(cmd.Context(), cfg.KMS)
	if err != nil {
		return nil, nil, err
	}
	r := &backup.Reader{Master: master, KMS: kms}
	if identity != "" {
		f, err := os.Open(identity)
		if err != nil {
			return nil, nil, fmt.Errorf("--identity: %w", err)
		}
		defer f.Close()
		if r.Identities, err = age.ParseIdentities(f); err != nil {
			return nil, nil, fmt.Errorf("--identity: %s: %w; it is the file that age-keygen writes", identity, err)
		}
	}
	if file == standard {
		return r, io.NopCloser(cmd.InOrStdin()), nil
	}
	src, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	return r, src, nil
}
