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
	At       *time.Time `json:"At,omitempty"`
	Opens    *time.Time `json:"WindowOpens,omitempty"`
	Closes   *time.Time `json:"WindowCloses,omitempty"`
	Schedule string     `json:"ScheduleExpression,omitempty"`
	Strategy string     `json:"Strategy"`
	Source   string     `json:"Source"`
	Note     string     `json:"Note,omitempty"`
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
		Example: "  pawl plan\n  pawl plan --days 7 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if days < 1 {
				return usage(fmt.Errorf("--days %d is less than 1", days))
			}
			return withService(g, cmd, func(ctx context.Context, a *app) error {
				report, err := a.declare(ctx)
				if err != nil {
					return err
				}
				until := time.Now().AddDate(0, 0, days)
				plan := []planned{}
				err = a.svc.Rotations(ctx, func(r service.RotationStatus) error {
					p := plannedOf(r)
					if p.At != nil && p.At.After(until) {
						return nil
					}
					plan = append(plan, p)
					for _, next := range a.svc.Following(r, until, mostPlanned-1) {
						p.At, p.Opens, p.Closes, p.Note = &next.At, &next.Window.Open, &next.Window.Close, ""
						plan = append(plan, p)
					}
					return nil
				})
				if err != nil {
					return err
				}
				sort.SliceStable(plan, func(i, j int) bool {
					a, b := plan[i].At, plan[j].At
					return a != nil && (b == nil || a.Before(*b))
				})
				for _, s := range a.cfg.Secrets {
					if _, missing := slices.BinarySearch(report.Missing, s.Name); missing {
						plan = append(plan, planned{
							Name: s.Name, Schedule: s.Rules.Schedule, Strategy: s.Rules.Strategy, Source: s.Source(),
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
						window = p.Opens.UTC().Format("15:04") + "–" + p.Closes.UTC().Format("15:04")
					}
					rows = append(rows, []string{whenp(p.At), window, p.Name, orDash(p.Schedule), p.Strategy, p.Source, p.Note})
				}
				return table(cmd.OutOrStdout(), rows)
			})
		},
	}
	c.Flags().IntVar(&days, "days", 30, "how many days to look ahead")
	jsonFlag(c, &asJSON)
	return c
}

// mostPlanned bounds how many rotations of one secret are listed.
const mostPlanned = 100

func plannedOf(r service.RotationStatus) planned {
	p := planned{Name: r.Name, Schedule: r.Rules.Schedule, Strategy: r.Rules.Strategy, Source: r.Source}
	switch {
	case r.Paused:
		p.Note = "paused: pawl resume " + r.Name
		return p
	case r.Problem != "":
		p.Note = r.Problem
		return p
	case r.Unfinished:
		p.Note = "unfinished: goes on at once"
	case !r.Enabled && r.Source != service.OnDemand:
		p.Note = "rotation is off"
		return p
	case !r.Enabled, r.Rules.Schedule == "":
		p.Note = "on demand: pawl rotate " + r.Name
		return p
	}
	if !r.At.IsZero() {
		p.At = &r.At
	}
	if !r.Window.Open.IsZero() {
		p.Opens, p.Closes = &r.Window.Open, &r.Window.Close
	}
	if r.Attempt.Tries > 0 && p.Note == "" {
		p.Note = fmt.Sprintf("failing since %s: pawl status %s", when(r.Attempt.FailingSince), r.Name)
	}
	return p
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
