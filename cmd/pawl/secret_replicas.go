package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/awsenv"
	"github.com/pawlhq/pawl/service"
)

func newSecretReplicate(g *globals) *cobra.Command {
	var in service.ReplicateSecretToRegionsInput
	var key string
	var asJSON bool
	c := &cobra.Command{
		Use:   "replicate NAME REGION…",
		Short: "Make replicas of a secret in other regions",
		Long: `Makes a copy in each region that from then on follows the secret and can't be
written. Where the configuration names the region's server (regions:) the copy is
there, and the daemon makes it within a few seconds: see pawl secret describe.`,
		Example: "  pawl secret replicate prod/app eu-west-1\n  pawl secret replicate prod/app eu-west-1 --kms-key-id alias/eu",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.SecretID = args[0]
			for _, r := range args[1:] {
				in.AddReplicaRegions = append(in.AddReplicaRegions, service.ReplicaRegionType{Region: r, KmsKeyID: key})
			}
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				out, err := t.ReplicateSecretToRegions(ctx, in)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				return tellReplicas(cmd.OutOrStdout(), out.ReplicationStatus)
			})
		},
	}
	c.Flags().StringVar(&key, "kms-key-id", "", "key of that region that encrypts the replica (default: the default key there)")
	c.Flags().BoolVar(&in.ForceOverwriteReplicaSecret, "force", false, "a secret of this name that is in the way there is deleted for good")
	jsonFlag(c, &asJSON)
	return c
}

func newSecretUnreplicate(g *globals) *cobra.Command {
	var in service.RemoveRegionsFromReplicationInput
	var asJSON bool
	c := &cobra.Command{
		Use:     "unreplicate NAME REGION…",
		Short:   "Delete replicas of a secret",
		Long:    "Deletes the copies in these regions, for good. A server that can't be reached now is asked when it can.",
		Example: "  pawl secret unreplicate prod/app eu-west-1",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.SecretID, in.RemoveReplicaRegions = args[0], args[1:]
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				out, err := t.RemoveRegionsFromReplication(ctx, in)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s has no replica in %s any more.\n", args[0], strings.Join(args[1:], ", "))
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func newSecretPromote(g *globals) *cobra.Command {
	var region string
	var asJSON bool
	c := &cobra.Command{
		Use:   "promote NAME",
		Short: "Make a replica a secret of its own, also when its primary is gone",
		Long: `Run it where the replica is, in the replica's region. The secret keeps its ARN, its
values and labels, and can be written from then on; it has no rotation until it is
given one. Its primary is told, if it can be reached; if not, it finds out when it
comes back, and what it sends then changes nothing here.`,
		Example: `  pawl secret promote prod/app
  pawl secret promote prod/app --region eu-west-1
  AWS_REGION=eu-west-1 pawl secret promote prod/app --endpoint https://eu.example.com:4566`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if region != "" && !awsenv.IsRegion(region) {
				return usage(fmt.Errorf("--region %q is not the name of a region, such as eu-west-1", region))
			}
			return withTarget(g, cmd, func(ctx context.Context, t *target) error {
				if region != "" {
					if t.app == nil || t.app.own == nil {
						return usage(errors.New("--region is for Pawl's own store; at a server say where by AWS_REGION"))
					}
					t.keeper = t.app.svc.As(service.Caller{Region: region, Account: t.app.cfg.Account, Own: true})
				}
				out, err := t.StopReplicationToReplica(ctx, service.StopReplicationToReplicaInput{SecretID: args[0]})
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), out)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is a secret of its own now.\n", out.ARN)
				return nil
			})
		},
	}
	c.Flags().StringVar(&region, "region", "", "the replica's region (default: the configuration's)")
	jsonFlag(c, &asJSON)
	return c
}

// tellReplicas prints how replicas are.
func tellReplicas(w io.Writer, replicas []service.ReplicationStatusType) error {
	rows := [][]string{{"REGION", "STATUS", "NOTE"}}
	for _, r := range replicas {
		rows = append(rows, []string{r.Region, string(r.Status), orDash(r.StatusMessage)})
	}
	return table(w, rows)
}
