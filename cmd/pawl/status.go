package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// status is one line of `status --json`.
type status struct {
	Name         string     `json:"Name"`
	ARN          string     `json:"ARN"`
	State        string     `json:"State"`
	LastRotated  *time.Time `json:"LastRotatedDate,omitempty"`
	Next         *time.Time `json:"NextRotationDate,omitempty"`
	FailingSince *time.Time `json:"FailingSince,omitempty"`
	Tries        int        `json:"Tries,omitempty"`
	NextTry      *time.Time `json:"NextTry,omitempty"`
	Kind         string     `json:"Kind,omitempty"`
	LastError    string     `json:"LastError,omitempty"`

	shown string // to people
}

func newStatus(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "status [NAME…]",
		Short:   "Show the last and next rotation, and what fails since when and why",
		Example: "  pawl status\n  pawl status prod/app --json\n  pawl status --endpoint http://127.0.0.1:4566",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				if _, err := t.declare(ctx); err != nil {
					return err
				}
				list := []status{}
				err := t.rotations(ctx, args, func(r service.RotationStatus) error {
					if len(args) == 0 || slices.Contains(args, r.Name) || slices.Contains(args, r.ARN.String()) {
						s := statusOf(r)
						s.shown = t.shown(r)
						list = append(list, s)
					}
					return nil
				})
				if err != nil {
					return err
				}
				for _, name := range args {
					if !slices.ContainsFunc(list, func(s status) bool { return s.Name == name || s.ARN == name }) {
						return secrets.Errorf(secrets.Invalid, "secret %q has no rotation", name).
							WithHint("declare it under secrets: in the configuration, or see what there is: pawl secret list")
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), list)
				}
				rows := [][]string{{"SECRET", "STATE", "LAST ROTATED", "NEXT"}}
				for _, s := range list {
					rows = append(rows, []string{s.shown, s.State, whenp(s.LastRotated), whenp(s.Next)})
				}
				if err := table(cmd.OutOrStdout(), rows); err != nil {
					return err
				}
				for _, s := range list {
					if s.LastError != "" {
						fmt.Fprintf(cmd.OutOrStdout(), "\n%s fails since %s (%d tries, %s), next try %s:\n  %s\n",
							s.shown, whenp(s.FailingSince), s.Tries, s.Kind, whenp(s.NextTry), s.LastError)
					}
				}
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func statusOf(r service.RotationStatus) status {
	s := status{Name: r.Name, ARN: r.ARN.String(), LastRotated: some(r.LastRotated)}
	switch {
	case r.Paused:
		s.State = "paused"
	case r.Attempt.Tries > 0:
		s.State = "failing"
	case r.Unfinished:
		s.State = "unfinished"
	case !r.Enabled && r.Source != service.OnDemand:
		s.State = "off"
	case r.Problem != "":
		s.State = "misconfigured"
	default:
		s.State = "ok"
	}
	if !r.Paused {
		s.Next = some(r.At)
	}
	if a := r.Attempt; a.Tries > 0 {
		s.FailingSince, s.NextTry = some(a.FailingSince), some(a.NextTry)
		s.Tries, s.Kind, s.LastError = a.Tries, a.Kind.String(), a.LastError
	} else if r.Problem != "" {
		s.LastError = r.Problem
	}
	return s
}

// some is nil for no time; else the time in the API's milliseconds, so that the
// store and a server tell the same.
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Truncate(time.Millisecond)
	return &t
}

func newPause(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "pause NAME",
		Short:   "Stop a secret's scheduled rotation until resumed",
		Long:    "Stops the schedule for one secret. `pawl rotate NAME` still works.",
		Example: "  pawl pause prod/app",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				if _, err := t.declare(ctx); err != nil {
					return err
				}
				if err := t.Pause(ctx, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Paused %s. Go on with: pawl resume %s\n", args[0], args[0])
				return nil
			})
		},
	}
}

func newResume(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "resume NAME",
		Short:   "Go on with a paused secret's schedule",
		Example: "  pawl resume prod/app",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				if _, err := t.declare(ctx); err != nil {
					return err
				}
				if err := t.Resume(ctx, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Resumed %s.\n", args[0])
				return nil
			})
		},
	}
}
