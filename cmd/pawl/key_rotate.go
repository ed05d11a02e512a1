package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

func newKeyRotate(g *globals) *cobra.Command {
	var sharedFile bool
	c := &cobra.Command{
		Use:   "rotate [KEY]",
		Short: "Give a key a new generation, and move to it what the old one encrypts",
		Long: `Gives a key of Pawl's own a new generation, and wraps anew the data keys of all
values that it encrypts; the values themselves stay as they are. Without KEY, or
with default, it is the master key: a new one is written into the key file, before
the old one, which stays until pawl key retire.

Servers and other commands may go on meanwhile. It may be stopped at any moment:
every value can be read before, after and in between, and pawl key rewrap, or a
server (pawl serve), goes on where it was.

Where several Pawls share a database (store.postgres), each with a key file of its
own, the master key is rotated by hand, so that none of them meets what it can't
read: docs/keys.md. With --shared-file they all read one and the same file.`,
		Example:           "  pawl key rotate alias/shop\n  pawl key rotate\n  pawl key rotate --shared-file",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeKeys(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				if len(args) == 0 || args[0] == masterKey || args[0] == seal.DefaultAlias {
					if a.cfg.Store.Postgres != nil && a.keys.Source().File != "" && !sharedFile {
						return usage(errors.New("the other Pawls on this database have key files of their own, which would lack the new key: they could not read what it encrypts. " +
							"Put it into all of them by hand (docs/keys.md, \"Several Pawls\"); or, if all read this one file: pawl key rotate --shared-file"))
					}
					id, err := a.keys.RotateMaster(ctx)
					if err != nil {
						return err
					}
					fmt.Fprintf(cmd.OutOrStdout(), "The new master key is %s. Back up %s now, apart from the database.\n", id, a.keys.Source())
					if err := a.rewrap(ctx, cmd); err != nil {
						return err
					}
					fmt.Fprintln(cmd.OutOrStdout(), "The old master key is still there, for what is being written just now; take it out later: pawl key retire")
					return nil
				}
				k, err := a.keys.RotateKey(ctx, args[0])
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s has a new generation, %s.\n", k.Alias, k.Generations[0].ID)
				return a.rewrapValues(ctx, cmd)
			})
		},
	}
	c.Flags().BoolVar(&sharedFile, "shared-file", false, "every Pawl on the database (store.postgres) reads this very key file")
	return c
}

func newKeyRewrap(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "rewrap",
		Short: "Move what old generations and old master keys encrypt to the newest ones",
		Long: `Wraps anew the data keys of all values that an old generation of a key, or an old
master key, encrypts, and what else the master key does: Pawl's own keys, and the
secret access keys of users. It goes on where another one was stopped, and does
nothing where there is nothing to do.

When the master key is not in a file, this is how it is rotated: put the new key
before the old one where it is, restart the servers, run this, and take the old one
out when pawl key retire says so.`,
		Example: "  pawl key rewrap",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error { return a.rewrap(ctx, cmd) })
		},
	}
	return c
}

func newKeyRetire(g *globals) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "retire",
		Short: "Take old master keys out of the key file",
		Long: `Takes out of the key file all keys but the one in use. It refuses while something
in the store needs one of them (pawl key rewrap moves it), and for ten minutes after
the new one came into use. Of a master key that is not in a file it says which may
be taken out there. Session credentials that are older than the new key end.

A backup of the database from before the re-wrap needs the old key: keep a copy of
the key file, as it was, for as long as you keep such a backup.`,
		Example: "  pawl key retire\n  pawl key retire --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				file := a.keys.Source().File
				if !yes && file != "" {
					if err := confirm(cmd, "Take the old keys out of "+file+"? Backups of the database from before the re-wrap need them."); err != nil {
						return err
					}
				}
				old, err := a.keys.RetireMaster(ctx, a.resealPeople)
				if err != nil {
					return err
				}
				switch ids := strings.Join(old, ", "); {
				case len(old) == 0:
					fmt.Fprintln(cmd.OutOrStdout(), "There is no old master key.")
				case file == "":
					fmt.Fprintf(cmd.OutOrStdout(), "Nothing needs %s any more. Take it out of %s, and restart the servers.\n", ids, a.keys.Source())
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "Took %s out of %s.\n", ids, a.keys.Source())
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) resealPeople(ctx context.Context) error { return a.people.Reseal(ctx, nil) }

// rewrap moves everything to the newest keys.
func (a *app) rewrap(ctx context.Context, cmd *cobra.Command) error {
	// What is damaged keeps neither from the other.
	err := a.rewrapValues(ctx, cmd)
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, unfinished(ctx, a.resealPeople(ctx), "some secret access keys of users were encrypted anew"))
}

// rewrapValues moves the values to the newest generations of their keys, and the
// named keys to the newest master key.
func (a *app) rewrapValues(ctx context.Context, cmd *cobra.Command) error {
	p := newProgress(cmd.ErrOrStderr())
	err := a.keys.Rewrap(ctx, p.report)
	p.end()
	if err != nil {
		return unfinished(ctx, err, fmt.Sprintf("%d of %d values were moved to their key's newest generation", p.done, p.total))
	}
	if p.done == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "No value is under an old generation.")
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "Moved %d of %d values to their key's newest generation.\n", p.done, p.total)
	}
	return nil
}

// unfinished says of what was stopped, by a person or by an error, how far it
// was and how it goes on.
func unfinished(ctx context.Context, err error, how string) error {
	const goOn = "everything can be read as before; go on: pawl key rewrap"
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return secrets.Errorf(secrets.Transient, "stopped after %s", how).WithHint(goOn)
	}
	e := secrets.Prefixed(err, "after %s", how)
	if e.Hint == "" {
		e.Hint = goOn
	}
	return e
}

// progress shows how far something is: on a terminal in one line that changes,
// elsewhere in a line every few seconds.
type progress struct {
	w           io.Writer
	tty         bool
	every       time.Duration
	last        time.Time
	done, total int
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, every: 5 * time.Second, last: time.Now()}
	if _, p.tty = terminal(w); p.tty {
		p.every = 100 * time.Millisecond
	}
	return p
}

func (p *progress) report(done, total int) {
	p.done, p.total = done, total
	now := time.Now()
	if now.Sub(p.last) < p.every {
		return
	}
	p.last = now
	if p.tty {
		fmt.Fprintf(p.w, "\r%d of %d values", done, total)
	} else {
		fmt.Fprintf(p.w, "%d of %d values\n", done, total)
	}
}

// end clears the line that changes.
func (p *progress) end() {
	if p.tty {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
