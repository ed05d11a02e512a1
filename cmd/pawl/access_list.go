package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/principals"
)

// principalView is a principal as --json shows it, with IAM's field names.
type principalView struct {
	Arn, Name, Kind, Account string
	ID                       string `json:"Id"`
	CreateDate               time.Time
	Disabled                 bool
	SessionsSince            time.Time        `json:",omitzero"`  // sessions made before are ended
	MaxSessionDuration       int              `json:",omitempty"` // in seconds
	Tags                     []tagView        `json:",omitempty"`
	Policies                 []documentView   `json:",omitempty"`
	PermissionsBoundary      json.RawMessage  `json:",omitempty"`
	AssumeRolePolicyDocument json.RawMessage  `json:",omitempty"`
	AccessKeys               []accessKeyView  `json:",omitempty"`
	Credentials              *credentialsView `json:",omitempty"` // of a new key
}

type tagView struct{ Key, Value string }

type documentView struct {
	PolicyName     string
	PolicyDocument json.RawMessage
}

type accessKeyView struct {
	AccessKeyID  string `json:"AccessKeyId"`
	Status       string // Active, Inactive
	CreateDate   time.Time
	LastUsedDate time.Time `json:",omitzero"` // to the hour
}

func viewOf(r *principals.Record, used map[string]time.Time) principalView {
	v := principalView{
		Arn: r.ARN(), Name: r.Name, Kind: string(r.Kind), Account: r.Account, ID: r.ID, CreateDate: r.Created,
		Disabled: r.Disabled, SessionsSince: r.SessionsSince, MaxSessionDuration: int(r.MaxSession / time.Second),
	}
	if r.Boundary != "" {
		v.PermissionsBoundary = json.RawMessage(r.Boundary)
	}
	if r.Trust != "" {
		v.AssumeRolePolicyDocument = json.RawMessage(r.Trust)
	}
	for _, t := range r.Tags {
		v.Tags = append(v.Tags, tagView(t))
	}
	for _, p := range r.Policies {
		v.Policies = append(v.Policies, documentView{p.Name, json.RawMessage(p.Document)})
	}
	for _, k := range r.Keys {
		status := "Active"
		if k.Disabled {
			status = "Inactive"
		}
		v.AccessKeys = append(v.AccessKeys, accessKeyView{k.ID, status, k.Created, used[k.ID]})
	}
	return v
}

// lookedUpAtOnce is how many principals' keys are asked about at one time.
const lookedUpAtOnce = 200

func newAccessList(g *globals) *cobra.Command {
	var account string
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List users and roles, of all accounts",
		Example: "  pawl access list\n  pawl access list --account 123456789012 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				views := []principalView{}
				var batch []*principals.Record
				flush := func() error {
					used, err := a.lastUses(ctx, batch...)
					if err != nil {
						return err
					}
					for _, r := range batch {
						views = append(views, viewOf(r, used))
					}
					batch = batch[:0]
					return nil
				}
				err := a.people.Each(ctx, account, func(r *principals.Record) error {
					if batch = append(batch, r); len(batch) < lookedUpAtOnce {
						return nil
					}
					return flush()
				})
				if err == nil {
					err = flush()
				}
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), struct{ Principals []principalView }{views})
				}
				rows := [][]string{{"NAME", "KIND", "ACCOUNT", "KEYS", "LAST USED", "NOTE"}}
				for _, v := range views {
					rows = append(rows, v.row())
				}
				return table(cmd.OutOrStdout(), rows)
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "only those of this account")
	jsonFlag(c, &asJSON)
	return c
}

// row is the principal's line in a list.
func (v principalView) row() []string {
	var keys []string
	var used time.Time
	for _, k := range v.AccessKeys {
		id := k.AccessKeyID
		if k.Status != "Active" {
			id += " (disabled)"
		}
		keys = append(keys, id)
		if k.LastUsedDate.After(used) {
			used = k.LastUsedDate
		}
	}
	note := ""
	if v.Disabled {
		note = "disabled"
	}
	if len(keys) == 0 {
		keys = []string{"-"}
	}
	return []string{v.Name, v.Kind, v.Account, strings.Join(keys, ", "), when(used), note}
}

func newAccessShow(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "show NAME",
		Short:             "Show a user or a role, by its name, its ARN or the id of a key",
		Long:              "Shows everything about a principal but the secrets of its keys, which nobody can.",
		Example:           "  pawl access show shop\n  pawl access show AKIAIOSFODNN7EXAMPLE --json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				r, err := a.people.Find(ctx, args[0])
				if err != nil {
					return err
				}
				used, err := a.lastUses(ctx, r)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), viewOf(r, used))
				}
				return showPrincipal(cmd.OutOrStdout(), r, used)
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// showPrincipal tells people of a principal, its documents as they are.
func showPrincipal(w io.Writer, r *principals.Record, used map[string]time.Time) error {
	status := "enabled"
	if r.Disabled {
		status = "disabled"
	}
	rows := [][]string{
		{"name", r.Name}, {"arn", r.ARN()}, {"kind", string(r.Kind)}, {"account", r.Account}, {"id", r.ID},
		{"created", when(r.Created)}, {"status", status},
	}
	if !r.SessionsSince.IsZero() {
		rows = append(rows, []string{"sessions", "those made before " + when(r.SessionsSince) + " are ended"})
	}
	if r.Kind == principals.Role {
		longest := r.MaxSession
		if longest == 0 {
			longest = time.Hour
		}
		rows = append(rows, []string{"longest session", longest.String()})
	}
	for _, t := range r.Tags {
		rows = append(rows, []string{"tag " + t.Key, t.Value})
	}
	for _, k := range r.Keys {
		text := "created " + when(k.Created) + ", " + lastUsed(used[k.ID])
		if k.Disabled {
			text += ", disabled"
		}
		rows = append(rows, []string{"key " + k.ID, text})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	document := func(title, text string) {
		if text != "" {
			fmt.Fprintf(w, "\n%s:\n%s\n", title, strings.TrimSuffix(text, "\n"))
		}
	}
	for _, p := range r.Policies {
		document("policy "+p.Name, p.Document)
	}
	document("permissions boundary", r.Boundary)
	document("trust policy", r.Trust)
	return nil
}
