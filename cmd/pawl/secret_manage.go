package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func newSecretStage(g *globals) *cobra.Command {
	var in service.UpdateSecretVersionStageInput
	var remove, asJSON bool
	c := &cobra.Command{
		Use:   "stage NAME LABEL",
		Short: "Move a staging label to a version, or take it off",
		Long: `Moves a staging label. Moving AWSCURRENT moves AWSPREVIOUS along. Pawl changes
no server for it: the version must hold what the server knows.`,
		Example: `  pawl secret stage prod/app BLUE --to 6a0d…
  pawl secret stage prod/app AWSPENDING --remove`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.SecretID, in.VersionStage = args[0], args[1]
			if (in.MoveToVersionID == "") == !remove {
				return usage(errors.New("give either --to VERSION or --remove"))
			}
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				if in.RemoveFromVersionID == "" {
					// A person need not name the version that has it: he sees it.
					d, err := t.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: in.SecretID})
					if err != nil {
						return err
					}
					for id, labels := range d.VersionIDsToStages {
						for _, l := range labels {
							if l == in.VersionStage {
								in.RemoveFromVersionID = id
							}
						}
					}
					if remove && in.RemoveFromVersionID == "" {
						return secrets.At(secrets.Errorf(secrets.Invalid, "no version carries the label %s", in.VersionStage).
							WithHint("see which there are: pawl secret versions %s", d.Name), d.Name, "", "")
					}
				}
				out, err := t.UpdateSecretVersionStage(ctx, in)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				if remove {
					fmt.Fprintf(cmd.OutOrStdout(), "Took %s off version %s of %s.\n", in.VersionStage, in.RemoveFromVersionID, out.Name)
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "Moved %s of %s to version %s.\n", in.VersionStage, out.Name, in.MoveToVersionID)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&in.MoveToVersionID, "to", "", "version to put the label on")
	c.Flags().StringVar(&in.RemoveFromVersionID, "from", "", "version that must have it now (default: whichever has it)")
	c.Flags().BoolVar(&remove, "remove", false, "take the label off")
	jsonFlag(c, &asJSON)
	return c
}

func newSecretDelete(g *globals) *cobra.Command {
	var in service.DeleteSecretInput
	var days int64
	var asJSON bool
	c := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Schedule a secret's deletion",
		Long:    "Schedules deletion after a recovery window; until then `pawl secret restore` brings it back.",
		Example: "  pawl secret delete prod/old\n  pawl secret delete prod/old --recovery-days 7\n  pawl secret delete prod/old --force",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.SecretID = args[0]
			if cmd.Flags().Changed("recovery-days") {
				if days < service.MinRecoveryDays || days > service.MaxRecoveryDays {
					return usage(fmt.Errorf("--recovery-days %d is not from %d to %d", days, service.MinRecoveryDays, service.MaxRecoveryDays))
				}
				in.RecoveryWindowInDays = &days
			}
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				out, err := t.DeleteSecret(ctx, in)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				if in.ForceDeleteWithoutRecovery {
					fmt.Fprintf(cmd.OutOrStdout(), "Deleted %s for good.\n", out.Name)
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "%s will be deleted on %s; until then: pawl secret restore %s\n", out.Name, when(out.DeletionDate), out.Name)
				}
				return nil
			})
		},
	}
	c.Flags().Int64Var(&days, "recovery-days", service.DefaultRecoveryDays, "days until it is gone, 7 to 30")
	c.Flags().BoolVar(&in.ForceDeleteWithoutRecovery, "force", false, "delete at once, without a way back")
	c.MarkFlagsMutuallyExclusive("recovery-days", "force")
	jsonFlag(c, &asJSON)
	return c
}

func newSecretRestore(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "restore NAME",
		Short:   "Bring back a secret that is scheduled for deletion",
		Example: "  pawl secret restore prod/old",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				out, err := t.RestoreSecret(ctx, service.RestoreSecretInput{SecretID: args[0]})
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Restored %s.\n", out.Name)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func newSecretTag(g *globals) *cobra.Command {
	var asJSON bool // nothing is printed either way: AWS answers with nothing too
	c := &cobra.Command{
		Use:     "tag NAME KEY=VALUE…",
		Short:   "Set tags on a secret",
		Example: "  pawl secret tag prod/app team=shop tier=1",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			tags, err := parseTags(args[1:])
			if err != nil {
				return err
			}
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				return t.TagResource(ctx, service.TagResourceInput{SecretID: args[0], Tags: tags})
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func newSecretUntag(g *globals) *cobra.Command {
	var asJSON bool // nothing is printed either way: AWS answers with nothing too
	c := &cobra.Command{
		Use:     "untag NAME KEY…",
		Short:   "Take tags off a secret",
		Example: "  pawl secret untag prod/app tier",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				return t.UntagResource(ctx, service.UntagResourceInput{SecretID: args[0], TagKeys: args[1:]})
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func parseTags(args []string) ([]service.Tag, error) {
	var out []service.Tag
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return nil, usage(fmt.Errorf("tag %q is not KEY=VALUE", a))
		}
		out = append(out, service.Tag{Key: k, Value: v})
	}
	return out, nil
}
