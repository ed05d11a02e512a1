package main

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/service"
)

// planned is one line of `plan --json`.
type planned struct {
	Name     string     `json:"Name"`
	ARN      string     `json:"ARN,omitempty"` // absent while there is no such secret
	At       *time.Time `json:"At,omitempty"`
	Opens    *time.Time `json:"WindowOpens,omitempty"`
	Closes   *time.Time `json:"WindowCloses,omitempty"`
	Schedule string     `json:"ScheduleExpression,omitempty"`
	Strategy string     `json:"Strategy"`
	Source   string     `json:"Source"`
	Note     string     `json:"Note,omitempty"`

	shown string // to people
}

func newPlan(g *globals) *cobra.Command {
	var days int
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what will rotate when",
		Long: `Lists the rotations of the next days in the order of time, as they will be if
each succeeds when it is due (at most 100 of one secret), and then the secrets
that have none.`,
		Example: "  pawl plan\n  pawl plan --days 7 --json\n  pawl plan --endpoint http://127.0.0.1:4566",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if days < 1 {
				return usage(fmt.Errorf("--days %d is less than 1", days))
			}
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				report, err := t.declare(ctx)
				if err != nil {
					return err
				}
				until := time.Now().AddDate(0, 0, days)
				plan := []planned{}
				err = t.Plan(ctx, until, func(r service.RotationStatus) error {
					p := plannedOf(r, t.shown(r))
					if p.At != nil && p.At.After(until) {
						return nil
					}
					plan = append(plan, p)
					for _, next := range r.Following {
						p.At, p.Opens, p.Closes, p.Note = some(next.At), some(next.Window.Open), some(next.Window.Close), ""
						plan = append(plan, p)
					}
					return nil
				})
				if err != nil {
					return err
				}
				if t.app != nil && t.app.aws != nil {
					report.Missing = t.app.aws.Missing()
				}
				sort.SliceStable(plan, func(i, j int) bool {
					a, b := plan[i].At, plan[j].At
					return a != nil && (b == nil || a.Before(*b))
				})
				for _, s := range t.declared() {
					if _, missing := slices.BinarySearch(report.Missing, s.Name); missing {
						plan = append(plan, planned{
							Name: s.Name, shown: s.Name, Schedule: s.Rules.Schedule, Strategy: s.Rules.Strategy, Source: s.Source(),
							Note: "no such secret yet: pawl secret create " + s.Name,
						})
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), plan)
				}
				rows := [][]string{{"NEXT", "WINDOW", "SECRET", "SCHEDULE", "STRATEGY", "FROM", "NOTE"}}
				for _, p := range plan {
					window := "-"
					if p.Opens != nil {
						window = p.Opens.UTC().Format("15:04") + "–" + closing(*p.Closes)
					}
					rows = append(rows, []string{whenp(p.At), window, p.shown, orDash(p.Schedule), p.Strategy, p.Source, p.Note})
				}
				return table(cmd.OutOrStdout(), rows)
			})
		},
	}
	c.Flags().IntVar(&days, "days", 30, "how many days to look ahead")
	jsonFlag(c, &asJSON)
	return c
}

// closing is when a window ends; at the end of a day, not at the start of the next.
func closing(t time.Time) string {
	if s := t.UTC().Format("15:04"); s != "00:00" {
		return s
	}
	return "24:00"
}

// mostPlanned bounds how many rotations of one secret are listed.
const mostPlanned = 100

func plannedOf(r service.RotationStatus, shown string) planned {
	p := planned{Name: r.Name, ARN: r.ARN.String(), shown: shown, Schedule: r.Rules.Expression(), Strategy: r.Rules.Strategy, Source: r.Source}
	switch {
	case r.Paused:
		p.Note = "paused: pawl resume " + shown
		return p
	case r.Problem != "":
		p.Note = r.Problem
		return p
	case r.Unfinished:
		p.Note = "unfinished: goes on at once"
	case !r.Enabled && r.Source != service.OnDemand:
		p.Note = "rotation is off"
		return p
	case !r.Enabled, !r.Rules.Scheduled():
		p.Note = "on demand: pawl rotate " + shown
		return p
	}
	p.At, p.Opens, p.Closes = some(r.At), some(r.Window.Open), some(r.Window.Close)
	if r.Attempt.Tries > 0 && p.Note == "" {
		p.Note = fmt.Sprintf("failing since %s: pawl status %s", when(r.Attempt.FailingSince), shown)
	}
	return p
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
