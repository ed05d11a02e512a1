package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/client"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/aws"
	"github.com/pawlhq/pawl/store/transfer"
)

// copyWait is how long a rotation that is running is waited for at the end.
const copyWait = 30 * time.Second

// copyView is `store copy --json`.
type copyView struct {
	From       string        `json:"From"`
	To         string        `json:"To"`
	DryRun     bool          `json:"DryRun,omitempty"`
	Copied     int           `json:"Copied"`
	Updated    int           `json:"Updated"`
	Same       int           `json:"SameAlready"`
	Again      int           `json:"CopiedAgain"`
	Verified   int           `json:"Verified"`
	Keys       int           `json:"Keys"`
	Principals int           `json:"Principals"`
	Refused    []problemView `json:"Refused"`
	Failed     []problemView `json:"Failed"`
	Different  []problemView `json:"Different"`
	Busy       []problemView `json:"Rotating"`
	Skipped    []problemView `json:"Skipped"`
	Gone       []string      `json:"DeletedMeanwhile"`
	Whole      bool          `json:"Whole"`
}

type problemView struct {
	Name   string `json:"Name"`
	Reason string `json:"Reason"`
}

func newStoreCopy(g *globals) *cobra.Command {
	var from, to string
	var dryRun, overwrite, asJSON bool
	c := &cobra.Command{
		Use:   "copy --from A.yaml --to B.yaml",
		Short: "Copy everything from one store to another",
		Long: `Copies from the store that one configuration names to the store of another: a file,
a PostgreSQL database (see pawl store migrate), or AWS Secrets Manager. Between
stores of Pawl's own everything goes along, byte for byte: secrets of all accounts
and regions with versions, labels, dates, rotations and policies; users and roles
with their access keys; named keys. Values are encrypted anew by the keys of the
destination. A destination in a file that is not there is made, with its key.

To and from AWS it is names, descriptions, tags, and the values and labels of those
versions that have labels, of the account and region of the other configuration.
AWS makes new ARNs and dates; keys, policies and rotations do not go along.

Stop what rotates in the source before. It may be stopped at any moment and run
again, and then goes on. What is at the destination and is no earlier copy is kept
and listed, unless with --overwrite. At the end both sides are read again and
compared; what changed at the source meanwhile is copied again.

Exit code 0: the destination is the source. 1: what is listed is missing there.
4: secrets that are being rotated are, run it again.`,
		Example: `  pawl store copy --from pawl.yaml --to shared.yaml --dry-run
  pawl store copy --from pawl.yaml --to shared.yaml
  pawl store copy --from aws.yaml --to pawl.yaml --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			if from == "" || to == "" || g.config != "" {
				return usage(errors.New("say from where to where, by two configuration files and no --config: pawl store copy --from A.yaml --to B.yaml"))
			}
			log, err := g.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return copyStore(cmd, log, from, to, dryRun, overwrite, asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "configuration file of the store to copy from")
	f.StringVar(&to, "to", "", "configuration file of the store to copy to")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be copied, and change nothing")
	f.BoolVar(&overwrite, "overwrite", false, "replace what is at the destination under the same name")
	jsonFlag(c, &asJSON)
	return c
}

func copyStore(cmd *cobra.Command, log *slog.Logger, fromFile, toFile string, dryRun, overwrite, asJSON bool) error {
	ctx, says := cmd.Context(), cmd.ErrOrStderr()
	from, err := loadEnd(ctx, fromFile, log)
	if err != nil {
		return usage(fmt.Errorf("--from: %w", err))
	}
	to, err := loadEnd(ctx, toFile, log)
	if err != nil {
		return usage(fmt.Errorf("--to: %w", err))
	}
	if from.name == to.name {
		return usage(fmt.Errorf("%s and %s name the same store, %s", fromFile, toFile, from.name))
	}
	if to.missing() {
		if dryRun {
			return usage(fmt.Errorf("--to: the store %s does not exist; without --dry-run it would be made", to.name))
		}
		store, _, err := emptyStore(ctx, to.cfg)
		if err == nil {
			err = store.Close()
		}
		if err != nil {
			return usage(fmt.Errorf("--to: %w", err))
		}
		fmt.Fprintf(says, "Made the empty store %s, encrypted by %s.\n", to.name, source(to.cfg))
	}
	if err := from.open(ctx); err != nil {
		return notOpened(fmt.Errorf("--from: %w", err))
	}
	defer from.close()
	if err := to.open(ctx); err != nil {
		return notOpened(fmt.Errorf("--to: %w", err))
	}
	defer func() { to.close() }()
	copying := newMeter(says, "copying")
	c := &transfer.Copier{From: from.end, To: to.end, Overwrite: overwrite, DryRun: dryRun, Wait: copyWait, Progress: copying.report}
	r, err := c.Copy(ctx)
	copying.end()
	if err == nil && !dryRun {
		// What is read for the comparison is not what this process remembers.
		to.close()
		if err = to.open(ctx); err == nil {
			comparing := newMeter(says, "comparing")
			c.Progress = comparing.report
			r, err = c.Verify(ctx, to.end)
			comparing.end()
		}
	}
	if err != nil {
		return failed(err)
	}
	view := viewOfCopy(r, from.name, to.name, dryRun)
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), view); err != nil {
			return err
		}
	} else {
		view.print(cmd.OutOrStdout(), from.cfg.Store.AWS != nil, to.cfg.Store.AWS != nil)
	}
	switch {
	case r.Whole():
		return nil
	case r.OnlyBusy():
		return &exitError{code: exitConflict}
	}
	return &exitError{code: exitPerson}
}

// end is one end of a copy.
type end struct {
	cfg  *config.Config
	log  *slog.Logger
	name string // of the store, to people
	end  transfer.End
	own  *own // nil at AWS
}

// loadEnd reads a configuration. It opens nothing.
func loadEnd(ctx context.Context, file string, log *slog.Logger) (*end, error) {
	cfg, err := loadFile(file)
	if err != nil {
		return nil, err
	}
	e := &end{cfg: cfg, log: log}
	if cfg.Store.AWS == nil {
		e.name = storeName(cfg)
		if p := cfg.Store.SQLite; p != nil {
			if real, err := filepath.EvalSymlinks(p.Path); err == nil {
				e.name = real
			}
		}
		return e, nil
	}
	store, err := aws.Open(ctx, awsConfig(cfg, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	at, err := client.AWS{Endpoint: cfg.Store.AWS.Endpoint, Region: store.Region(), Profile: cfg.Store.AWS.Profile, Store: true}.Connect(ctx)
	if err != nil {
		return nil, err
	}
	e.name = "AWS Secrets Manager in " + store.Region()
	for _, more := range []string{cfg.Store.AWS.Profile, cfg.Store.AWS.Endpoint} {
		if more != "" {
			e.name += ", " + more
		}
	}
	e.end = &transfer.AWS{API: at}
	return e, nil
}

// missing reports whether it is a file that there is not.
func (e *end) missing() bool {
	if e.cfg.Store.SQLite == nil {
		return false
	}
	_, err := os.Lstat(e.cfg.Store.SQLite.Path)
	return errors.Is(err, fs.ErrNotExist)
}

func (e *end) open(ctx context.Context) (err error) {
	if e.cfg.Store.AWS != nil {
		return nil
	}
	if e.own, err = (options{}).openOwn(ctx, e.cfg, e.log, &functions{}); err != nil {
		return err
	}
	e.end = &transfer.Own{Store: e.own.store, Keys: e.own.keys, Place: service.Place{Account: e.cfg.Account, Region: e.cfg.Region}}
	return nil
}

func (e *end) close() {
	if e.own != nil {
		e.own.Close()
		e.own = nil
	}
}

func viewOfCopy(r *transfer.Report, from, to string, dryRun bool) copyView {
	problems := func(ps []transfer.Problem) []problemView {
		out := make([]problemView, len(ps))
		for i, p := range ps {
			out[i] = problemView(p)
		}
		return out
	}
	return copyView{
		From: from, To: to, DryRun: dryRun, Copied: r.Copied, Updated: r.Updated, Same: r.Same, Again: r.Again, Verified: r.Verified,
		Keys: r.KeysTaken, Principals: r.PrincipalsTaken,
		Refused: problems(r.Refused), Failed: problems(r.Failed), Different: problems(r.Different), Busy: problems(r.Busy), Skipped: problems(r.Skipped),
		Gone: append([]string{}, r.Gone...), Whole: r.Whole(),
	}
}

func (v copyView) print(w io.Writer, fromAWS, toAWS bool) {
	verb := "Copied"
	if v.DryRun {
		verb = "Would copy"
	}
	fmt.Fprintf(w, "%s %s from %s to %s", verb, numbered(v.Copied+v.Updated, "secret"), v.From, v.To)
	if v.Updated > 0 {
		fmt.Fprintf(w, ", %d of them over older copies", v.Updated)
	}
	fmt.Fprintf(w, "; %d were there already.\n", v.Same)
	if !fromAWS && !toAWS {
		fmt.Fprintf(w, "%s %s, and %s.\n", verb, numbered(v.Principals, "user or role"), numbered(v.Keys, "named key"))
	}
	if v.Again > 0 {
		fmt.Fprintf(w, "%d changed meanwhile, and were copied again.\n", v.Again)
	}
	if !v.DryRun {
		fmt.Fprintf(w, "Read %d on both sides again: they are the same.\n", v.Verified)
	}
	tell := func(ps []problemView, what string) {
		var lines []string
		for _, p := range ps {
			lines = append(lines, p.Name+": "+strings.ReplaceAll(p.Reason, "\n", "; "))
		}
		list(w, lines, what)
	}
	tell(v.Skipped, "Not copied, because such a one can't be there")
	tell(v.Refused, "Not copied, because something else is at the destination; to replace it: --overwrite")
	tell(v.Failed, "Not copied, because it failed")
	tell(v.Different, "Copied, and not the same")
	tell(v.Busy, "Not copied, because they are being rotated; stop what rotates them, and run it again")
	list(w, v.Gone, "Copied, and deleted at the source meanwhile; delete them at the destination")
	if (fromAWS || toAWS) && v.Copied+v.Updated+v.Same > 0 {
		fmt.Fprintf(w, "\nKeys, resource policies and rotations did not go along: values are encrypted by the\ndefault key there; say in the configuration of the destination what rotates.\n")
	}
}
