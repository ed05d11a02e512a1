package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/backup"
)

// restoreView is `restore --json`.
type restoreView struct {
	backupView
	Store      string   `json:"Store"`
	Aside      string   `json:"OldStore,omitempty"`
	Due        []string `json:"DueSince"`
	Unfinished []string `json:"Unfinished"`
}

// mostListed is how many secrets are named to a person.
const mostListed = 20

func newRestore(g *globals) *cobra.Command {
	var force, asJSON bool
	var identity string
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the store from a backup",
		Long: `Makes the store that the configuration names from FILE, which pawl backup wrote; -
is standard input. It needs the master key that was in use then. The store appears
under its name when all of FILE was read, every value in it was opened, and what was
made is what was read; until then nothing is changed.

It refuses while a Pawl has the store open, and where there is a store already: with
--force that one is kept beside the new one, as PATH.before-restore-TIME.

What was rotated after the backup was made has newer passwords than the store has
then. It lists the secrets that were due since. Before servers start, ask which
AWSCURRENT still logs in: pawl rotate --all --dry-run`,
		Example: `  pawl restore pawl.age
  pawl restore --force pawl.age
  pawl restore --config /etc/pawl/pawl.yaml -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := g.embedded(cmd, "restore by that one's tools (docs/backup.md); or restore into a file by another configuration, and move it: pawl store copy")
			if err != nil {
				return err
			}
			r, src, err := readerOf(cmd, cfg, args[0], identity)
			if err != nil {
				return usage(err)
			}
			defer src.Close()
			m := newMeter(cmd.ErrOrStderr(), "restoring")
			r.Progress = m.report
			out, err := r.Restore(cmd.Context(), src, backup.Target{Path: cfg.Store.SQLite.Path, Force: force, Now: wallClock().Now})
			m.end()
			if err != nil {
				return failed(err)
			}
			view := restoreView{viewOfBackup(args[0], &out.Contents), out.Path, out.Aside, namesHere(cfg, out.Due), namesHere(cfg, out.Unfinished)}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), view)
			}
			view.print(cmd.OutOrStdout(), when(out.Created))
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "where there is a store already, keep it beside the new one under another name")
	c.Flags().StringVar(&identity, "identity", "", "file with the age key of a --recipient of the backup, where the master key\ndoes not open it")
	jsonFlag(c, &asJSON)
	return c
}

func (v restoreView) print(w io.Writer, made string) {
	fmt.Fprintf(w, "Restored %s: %s, as of %s.\n", v.Store, v.holds(), made)
	if v.Aside != "" {
		fmt.Fprintf(w, "The store that was there is %s now.\n", v.Aside)
	}
	list(w, v.Unfinished, "In the middle of a rotation when the backup was made; the next rotation asks the\nserver which password it accepts, and finishes or undoes it")
	list(w, v.Due, "Due for rotation since the backup was made: if they were rotated, the server has a\npassword that is not in the store")
	if len(v.Due)+len(v.Unfinished) > 0 {
		fmt.Fprintln(w, "\nBefore servers start, ask which AWSCURRENT still logs in: pawl rotate --all --dry-run")
	}
}

// list names secrets to a person, as many as he may want to read.
func list(w io.Writer, names []string, what string) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", what)
	for _, name := range names[:min(len(names), mostListed)] {
		fmt.Fprintln(w, "  "+name)
	}
	if n := len(names) - mostListed; n > 0 {
		fmt.Fprintf(w, "  and %d more; all of them: --json\n", n)
	}
}

// namesHere is how a person means secrets: by name in the configuration's account
// and region, by ARN elsewhere.
func namesHere(cfg *config.Config, arns []secrets.ARN) []string {
	names := make([]string, len(arns))
	for i, a := range arns {
		names[i] = a.String()
		if a.Account == cfg.Account && a.Region == cfg.Region {
			names[i] = a.Name
		}
	}
	return names
}
