package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
)

// newAccessSwitch is `disable` or `enable`.
func newAccessSwitch(g *globals, verb string) *cobra.Command {
	var asJSON bool
	off := verb == "disable"
	c := &cobra.Command{
		Use:               verb + " NAME",
		Short:             map[bool]string{true: "Refuse all requests of a user, a role or one access key", false: "Take back a disable"}[off],
		Long:              "NAME is a user or a role, or the id of one access key. It holds from the next request on.",
		Example:           "  pawl access " + verb + " shop\n  pawl access " + verb + " AKIAIOSFODNN7EXAMPLE",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				r, err := a.people.SetDisabled(ctx, args[0], off)
				if err != nil {
					return err
				}
				if off {
					a.warnWithoutAdministrator(ctx, cmd)
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), viewOf(r, nil))
				}
				what := a.called(r)
				switch key := keyOf(r, args[0]); {
				case key != "" && !off && r.Disabled:
					what = fmt.Sprintf("access key %s; %s itself is still disabled: pawl access enable %s", key, what, a.ref(r))
				case key != "":
					what = fmt.Sprintf("access key %s of %s", key, what)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s%sd %s.\n", strings.ToUpper(verb[:1]), verb[1:], what)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// keyOf returns the id of the principal's access key that ref is, "" if it is
// none.
func keyOf(r *principals.Record, ref string) string {
	if slices.ContainsFunc(r.Keys, func(k principals.AccessKey) bool { return k.ID == ref }) {
		return ref
	}
	return ""
}

func newAccessDelete(g *globals) *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a user with his keys, a role, or one access key",
		Long: `NAME is a user or a role, or the id of one access key. There is no way back: on a
terminal it asks, elsewhere it wants --yes. To keep somebody out for a while there
is pawl access disable.`,
		Example:           "  pawl access delete shop\n  pawl access delete AKIAIOSFODNN7EXAMPLE --yes",
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
				what := a.called(r)
				key := keyOf(r, args[0])
				switch {
				case key != "":
					what = fmt.Sprintf("access key %s of %s (%s)", key, what, lastUsed(used[key]))
				case len(r.Keys) > 0:
					var keys []string
					for _, k := range r.Keys {
						keys = append(keys, fmt.Sprintf("%s (%s)", k.ID, lastUsed(used[k.ID])))
					}
					what += " with " + strings.Join(keys, " and ")
				}
				if !yes {
					if err := confirm(cmd, "Delete "+what+" for good?"); err != nil {
						return err
					}
				}
				// By the ARN, which tells him from another one of the same name.
				ref := r.ARN()
				if key != "" {
					ref = key
				}
				if r, err = a.people.Delete(ctx, ref); err != nil {
					return err
				}
				a.warnWithoutAdministrator(ctx, cmd)
				if asJSON {
					return printJSON(cmd.OutOrStdout(), viewOf(r, nil))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Deleted %s.\n", what)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(c, &asJSON)
	return c
}

// confirm asks a person at a terminal; elsewhere it refuses and names --yes.
func confirm(cmd *cobra.Command, question string) error {
	f, tty := terminal(cmd.InOrStdin())
	if !tty {
		return usage(fmt.Errorf("%s There is no way back; if you mean it, add --yes", question))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s There is no way back. [yes/no] ", question)
	answer, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && answer == "" {
		return secrets.Errorf(secrets.Invalid, "no answer, and nothing was deleted: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "yes" && a != "y" {
		return &exitError{exitPerson, errors.New("nothing was deleted")}
	}
	return nil
}
