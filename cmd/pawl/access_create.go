package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/principals"
)

func newAccessCreate(g *globals) *cobra.Command {
	var p policyFlags
	var n principals.NewPrincipal
	var tags []string
	var role, asJSON bool
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a user with an access key, or a role",
		Long: `Makes a user, and prints his access key as lines for a shell. The secret of the
key is not shown again, nor can Pawl's operator read it: keep it where the user's
programs find it.

With --role it makes a role, which has no key: whom the trust policy names
assumes it for a while, by STS's AssumeRole.`,
		Example: `  pawl access create admin2 --administrator
  pawl access create shop --policy read-shop.json --tag team=shop
  eval "$(pawl access create shop --policy read-shop.json)"
  pawl access create auditor --role --trust auditors.json --policy describe.json --max-session 4h`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Name, n.Kind = args[0], principals.User
			switch {
			case role && p.trust == "":
				return usage(errors.New("a role needs --trust FILE, the policy that says who may assume it"))
			case role:
				n.Kind = principals.Role
			case p.trust != "":
				return usage(errors.New("--trust is for roles: add --role"))
			case cmd.Flags().Changed("max-session"):
				return usage(errors.New("--max-session is for roles: add --role"))
			}
			err := p.once()
			if err == nil {
				n.Policies, err = p.policies(cmd)
			}
			if err == nil {
				n.Boundary, err = p.limit(cmd)
			}
			if err == nil {
				n.Trust, err = p.trustText(cmd)
			}
			if err == nil {
				n.Tags, err = principalTags(tags)
			}
			if err != nil {
				return err
			}
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				r, key, err := a.people.Create(ctx, n)
				if err != nil {
					return err
				}
				if asJSON {
					v := viewOf(r, nil)
					if key != nil {
						v.Credentials = credentialsOf(key)
					}
					return printJSON(cmd.OutOrStdout(), v)
				}
				says := cmd.ErrOrStderr()
				if key == nil {
					says = cmd.OutOrStdout()
				}
				fmt.Fprintf(says, "Created %s %s: %s\n", r.Kind, r.Name, r.ARN())
				if len(r.Policies) == 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "No policy is attached yet; what may it do? pawl access update %s --policy FILE\n", a.ref(r))
				}
				if key == nil {
					return nil
				}
				fmt.Fprintln(says, shownOnce)
				return printCredentials(cmd.OutOrStdout(), key)
			})
		},
	}
	p.register(c)
	f := c.Flags()
	f.StringArrayVar(&tags, "tag", nil, "KEY=VALUE, which policies know as aws:PrincipalTag/KEY; may be given several times")
	f.StringVar(&n.Account, "account", "", defaultAccount)
	f.BoolVar(&role, "role", false, "make a role")
	f.DurationVar(&n.MaxSession, "max-session", 0, "how long a session of the role may last, 1h to 12h (default 1h)")
	f.BoolVar(&n.WithoutKey, "no-key", false, "make no access key")
	c.MarkFlagsMutuallyExclusive("role", "no-key")
	jsonFlag(c, &asJSON)
	return c
}

func newAccessUpdate(g *globals) *cobra.Command {
	var p policyFlags
	var ch principals.Changes
	var tags []string
	var noBoundary, asJSON bool
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change policies, boundary, trust or tags",
		Long: `Changes a user or a role; what is not named stays as it is. A policy replaces the
one of the same name. It holds from the next request on.`,
		Example: `  pawl access update shop --policy read-shop.json --without-policy old
  pawl access update shop --tag team=shop --untag tier
  pawl access update shop --no-boundary`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			changed := false
			for _, name := range []string{"policy", "without-policy", "administrator", "boundary", "no-boundary", "trust", "tag", "untag", "max-session"} {
				changed = changed || cmd.Flags().Changed(name)
			}
			if !changed {
				return usage(errors.New("nothing to change: give --policy, --without-policy, --boundary, --trust, --tag, --untag or another of the flags"))
			}
			err := p.once()
			if err == nil {
				ch.Policies, err = p.policies(cmd)
			}
			if err == nil && (p.boundary != "" || noBoundary) {
				var boundary string
				boundary, err = p.limit(cmd)
				ch.Boundary = &boundary
			}
			if err == nil && p.trust != "" {
				var trust string
				trust, err = p.trustText(cmd)
				ch.Trust = &trust
			}
			if err == nil {
				ch.Tags, err = principalTags(tags)
			}
			if err != nil {
				return err
			}
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				r, err := a.people.Update(ctx, args[0], ch)
				if err != nil {
					return err
				}
				a.warnWithoutAdministrator(ctx, cmd)
				if asJSON {
					return printJSON(cmd.OutOrStdout(), viewOf(r, nil))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Changed %s.\n", a.called(r))
				return nil
			})
		},
	}
	p.register(c)
	f := c.Flags()
	f.StringArrayVar(&ch.Without, "without-policy", nil, "NAME of a policy to take off; may be given several times")
	f.BoolVar(&noBoundary, "no-boundary", false, "take the permissions boundary off")
	f.StringArrayVar(&tags, "tag", nil, "KEY=VALUE to set; may be given several times")
	f.StringArrayVar(&ch.Untag, "untag", nil, "KEY of a tag to take off; may be given several times")
	f.DurationVar(&ch.MaxSession, "max-session", 0, "how long a session of the role may last, 1h to 12h")
	c.MarkFlagsMutuallyExclusive("boundary", "no-boundary")
	jsonFlag(c, &asJSON)
	return c
}
