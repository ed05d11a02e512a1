package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/postgres"
)

// Bounds of what pawl store status counts and lists.
const (
	mostPlaces  = 100
	mostCounted = 1_000_000
	mostLeases  = 1000
)

// storeStatus is `store status --json`.
type storeStatus struct {
	Store   string       `json:"Store"`
	Server  string       `json:"Server,omitempty"` // the address that answers
	Version string       `json:"ServerVersion,omitempty"`
	Skew    *float64     `json:"ClockAheadSeconds,omitempty"` // of this machine
	Schema  int          `json:"SchemaVersion"`
	Places  []placeView  `json:"Secrets"`
	More    bool         `json:"MorePlaces,omitempty"`
	Due     int          `json:"Due"` // at most mostCounted
	Oldest  *time.Time   `json:"DueSince,omitempty"`
	Leases  *[]leaseView `json:"Rotating,omitempty"` // nil = the store can't tell
}

type placeView struct {
	Account string `json:"Account"`
	Region  string `json:"Region"`
	Count   int    `json:"Count"` // at most mostCounted
}

type leaseView struct {
	ARN    string  `json:"ARN"`
	By     string  `json:"By"`
	Silent float64 `json:"SilentSeconds"`
	Left   float64 `json:"LeftSeconds"` // 0 or less = it is over

	name string // to people
}

func newStoreStatus(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show which store it is, what it holds, and who rotates what",
		Long: `Shows the store that the configuration names: which server answers, the version of
its schema, how many secrets it holds, how many are due now. Of a database that
several Pawls share also whether this machine's clock is another than its, and which
of them rotates which secret: who he is, since when the database has not heard of
him, and for how long his claim still keeps others out. A claim
that is over is free for the next who wants it.

It needs no key, changes nothing, and asks no server but the store.`,
		Example: "  pawl store status\n  pawl store status --json --config /etc/pawl/pawl.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			cfg, log, err := g.load(cmd)
			if err == nil {
				err = ownOnly(cmd, cfg)
			}
			if err != nil {
				return err
			}
			store, err := openStore(cmd.Context(), cfg, log)
			if err != nil {
				return notOpened(err)
			}
			defer store.Close()
			s := storeStatus{Store: storeName(cfg)}
			if err := s.ask(cmd.Context(), store); err != nil {
				return failed(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return s.print(cmd.OutOrStdout())
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// ask fills the status in.
func (s *storeStatus) ask(ctx context.Context, store ownStore) (err error) {
	if s.Schema, err = store.Schema(ctx); err != nil {
		return err
	}
	places, err := store.Places(ctx)
	if err != nil {
		return err
	}
	if s.More = len(places) > mostPlaces; s.More {
		places = places[:mostPlaces]
	}
	s.Places = []placeView{}
	for _, p := range places {
		n, err := store.Count(ctx, p, mostCounted)
		if err != nil {
			return err
		}
		s.Places = append(s.Places, placeView{p.Account, p.Region, n})
	}
	n, oldest, err := store.Backlog(ctx, time.Now(), mostCounted)
	if err != nil {
		return err
	}
	s.Due, s.Oldest = n, some(oldest)
	shared, ok := store.(interface {
		Leases(ctx context.Context, n int) ([]postgres.LeaseInfo, error)
		Server(ctx context.Context) (address, version string, err error)
		clocked
	})
	if !ok {
		return nil
	}
	if s.Server, s.Version, err = shared.Server(ctx); err != nil {
		return err
	}
	skew, err := skewOf(ctx, shared)
	if err != nil {
		return err
	}
	ahead := skew.Round(time.Millisecond).Seconds()
	s.Skew = &ahead
	leases, err := shared.Leases(ctx, mostLeases)
	if err != nil {
		return err
	}
	views := []leaseView{}
	for _, l := range leases {
		views = append(views, leaseView{
			ARN: l.ARN.String(), By: l.By, name: shortName(l.ARN, s.Places),
			Silent: l.Silent.Round(time.Millisecond).Seconds(), Left: l.Left.Round(time.Millisecond).Seconds(),
		})
	}
	s.Leases = &views
	return nil
}

// shortName is a secret's name where there is but one place, else its ARN.
func shortName(a secrets.ARN, places []placeView) string {
	if len(places) == 1 {
		return a.Name
	}
	return a.String()
}

func (s *storeStatus) print(w io.Writer) error {
	fmt.Fprintf(w, "Store   %s\n", s.Store)
	if s.Server != "" {
		fmt.Fprintf(w, "Server  %s, version %s\n", s.Server, s.Version)
	}
	if s.Skew != nil && math.Abs(*s.Skew) >= 1 {
		fmt.Fprintf(w, "Clock   this machine's is %s\n", aheadBy(time.Duration(*s.Skew*float64(time.Second))))
	}
	fmt.Fprintf(w, "Schema  version %d\nDue     %s", s.Schema, counted(s.Due))
	if s.Oldest != nil {
		fmt.Fprintf(w, ", the oldest since %s", whenp(s.Oldest))
	}
	fmt.Fprint(w, "\n\n")
	rows := [][]string{{"ACCOUNT", "REGION", "SECRETS"}}
	for _, p := range s.Places {
		rows = append(rows, []string{p.Account, p.Region, counted(p.Count)})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if s.More {
		fmt.Fprintf(w, "… and more accounts and regions than these %d\n", mostPlaces)
	}
	switch {
	case s.Leases == nil:
		return nil
	case len(*s.Leases) == 0:
		_, err := fmt.Fprintln(w, "\nNothing is being rotated.")
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"ROTATING", "BY", "SILENT FOR", "CLAIM"}}
	for _, l := range *s.Leases {
		claim := fmt.Sprintf("ends in %.1fs, if he stays silent", l.Left)
		if l.Left <= 0 {
			claim = "is over: free for the next"
		}
		rows = append(rows, []string{l.name, l.By, fmt.Sprintf("%.1fs", l.Silent), claim})
	}
	return table(w, rows)
}

// counted is a number that was not counted further than mostCounted.
func counted(n int) string {
	if n >= mostCounted {
		return strconv.Itoa(mostCounted) + " or more"
	}
	return strconv.Itoa(n)
}
