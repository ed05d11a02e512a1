package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/service"
)

func newSecret(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "secret",
		Short:   "Create, read and manage secrets, in Pawl's own store or at a server",
		Example: "  pawl secret create prod/app --value-file app.json\n  pawl secret get prod/app",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(
		newSecretCreate(g), newSecretPut(g), newSecretGet(g), newSecretList(g),
		newSecretDescribe(g), newSecretVersions(g), newSecretStage(g),
		newSecretDelete(g), newSecretRestore(g), newSecretTag(g), newSecretUntag(g),
		newSecretReplicate(g), newSecretUnreplicate(g), newSecretPromote(g),
	)
	return c
}

func newSecretGet(g *globals) *cobra.Command {
	var in service.GetSecretValueInput
	var asJSON bool
	c := &cobra.Command{
		Use:   "get NAME",
		Short: "Print a secret's value",
		Long: `Prints the value's exact bytes; a newline is added only on a terminal.
--json prints the value with its version and labels instead.`,
		Example: "  pawl secret get prod/app\n  pawl secret get prod/app --stage AWSPREVIOUS --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.SecretID = args[0]
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				out, err := t.GetSecretValue(ctx, in)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				if _, err := cmd.OutOrStdout().Write(out.Value.Reveal()); err != nil {
					return err
				}
				if _, tty := terminal(cmd.OutOrStdout()); tty {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&in.VersionStage, "stage", "", "staging label (default AWSCURRENT)")
	c.Flags().StringVar(&in.VersionID, "version-id", "", "id of the version")
	jsonFlag(c, &asJSON)
	return c
}

func newSecretList(g *globals) *cobra.Command {
	var in service.ListSecretsInput
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List secrets",
		Example: "  pawl secret list\n  pawl secret list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				all := service.ListSecretsOutput{SecretList: []service.SecretListEntry{}}
				for {
					out, err := t.ListSecrets(ctx, in)
					if err != nil {
						return err
					}
					all.SecretList = append(all.SecretList, out.SecretList...)
					if in.NextToken = out.NextToken; in.NextToken == "" {
						break
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), all)
				}
				rows := [][]string{{"NAME", "CHANGED", "LAST ROTATED", "NEXT ROTATION", "NOTE"}}
				for _, s := range all.SecretList {
					note := ""
					if !s.DeletedDate.IsZero() {
						note = "deleted " + when(s.DeletedDate)
					}
					rows = append(rows, []string{s.Name, when(s.LastChangedDate), when(s.LastRotatedDate), when(s.NextRotationDate), note})
				}
				return table(cmd.OutOrStdout(), rows)
			})
		},
	}
	c.Flags().BoolVar(&in.IncludePlannedDeletion, "include-deleted", false, "also those scheduled for deletion")
	jsonFlag(c, &asJSON)
	return c
}

func newSecretDescribe(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "describe NAME",
		Short:   "Show everything about a secret but its value",
		Example: "  pawl secret describe prod/app --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				d, err := t.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: args[0]})
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), d)
				}
				rows := [][]string{
					{"name", d.Name}, {"arn", d.ARN}, {"description", d.Description},
					{"created", when(d.CreatedDate)}, {"changed", when(d.LastChangedDate)},
					{"last rotated", when(d.LastRotatedDate)}, {"next rotation", when(d.NextRotationDate)},
				}
				if d.KmsKeyID != "" {
					rows = append(rows, []string{"key", d.KmsKeyID})
				}
				if !d.DeletedDate.IsZero() {
					rows = append(rows, []string{"deleted", when(d.DeletedDate)})
				}
				if d.PrimaryRegion != "" && len(d.ReplicationStatus) == 0 {
					rows = append(rows, []string{"replica of", d.PrimaryRegion})
				}
				for _, r := range d.ReplicationStatus {
					rows = append(rows, []string{"replica " + r.Region, strings.TrimSuffix(string(r.Status)+": "+r.StatusMessage, ": ")})
				}
				for _, t := range d.Tags {
					rows = append(rows, []string{"tag " + t.Key, t.Value})
				}
				for _, id := range slices.Sorted(maps.Keys(d.VersionIDsToStages)) {
					rows = append(rows, []string{"version " + id, strings.Join(d.VersionIDsToStages[id], ", ")})
				}
				return table(cmd.OutOrStdout(), rows)
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func newSecretVersions(g *globals) *cobra.Command {
	var in service.ListSecretVersionIDsInput
	var asJSON bool
	c := &cobra.Command{
		Use:     "versions NAME",
		Short:   "List a secret's versions and their staging labels",
		Example: "  pawl secret versions prod/app\n  pawl secret versions prod/app --include-deprecated --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.SecretID = args[0]
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				var all service.ListSecretVersionIDsOutput
				for {
					out, err := t.ListSecretVersionIDs(ctx, in)
					if err != nil {
						return err
					}
					all.ARN, all.Name = out.ARN, out.Name
					all.Versions = append(all.Versions, out.Versions...)
					if in.NextToken = out.NextToken; in.NextToken == "" {
						break
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), all)
				}
				rows := [][]string{{"VERSION", "CREATED", "LABELS"}}
				for _, v := range all.Versions {
					rows = append(rows, []string{v.VersionID, when(v.CreatedDate), strings.Join(v.VersionStages, ", ")})
				}
				return table(cmd.OutOrStdout(), rows)
			})
		},
	}
	c.Flags().BoolVar(&in.IncludeDeprecated, "include-deprecated", false, "also versions without labels")
	jsonFlag(c, &asJSON)
	return c
}
