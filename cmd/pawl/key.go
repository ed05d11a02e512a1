package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newKey(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make, list and rotate the keys that encrypt secrets",
		Long: `Every value is encrypted by a data key of its own, which a key wraps: the master
key, unless the secret's KmsKeyId names another, which is one of Pawl's own
(pawl key create) or AWS KMS's. The master key wraps Pawl's own keys too.

A key that is rotated gets a new generation; the data keys of all values are
wrapped anew by it, while servers run, and the old generation goes when nothing
needs it. docs/keys.md has the rest: where the master key may come from, backups.`,
		Example: "  pawl key create alias/shop\n  pawl key assign alias/shop prod/shop\n  pawl key rotate alias/shop",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newKeyCreate(g), newKeyList(g), newKeyAssign(g), newKeyRotate(g), newKeyRewrap(g), newKeyRetire(g))
	return c
}

// masterKey is how a person names the key of secrets without one of their own.
const masterKey = "default"

// completeKeys completes the first argument to the aliases of keys.
func completeKeys(g *globals) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var aliases []string
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		_ = withApp(g, cmd, func(ctx context.Context, a *app) error {
			keys, err := a.keys.ListKeys(ctx)
			for _, k := range keys {
				aliases = append(aliases, k.Alias)
			}
			return err
		})
		return aliases, cobra.ShellCompDirectiveNoFileComp
	}
}

func newKeyCreate(g *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "create alias/NAME",
		Short: "Make a key that secrets can name by KmsKeyId",
		Long: `Makes a key of Pawl's own. Secrets of all accounts and regions of the store can
name it, by its alias or its id. It is kept in the store, encrypted by the master
key, and so it is in the store's backups.`,
		Example: "  pawl key create alias/shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				k, err := a.keys.CreateKey(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), viewOfKey(k, nil))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Made the key %s, id %s.\nEncrypt a secret by it: pawl key assign %s NAME\n", k.Alias, k.ID, k.Alias)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func newKeyAssign(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "assign KEY NAME…",
		Short: "Encrypt secrets by another key",
		Long: `Makes a key the one of these secrets, as UpdateSecret with KmsKeyId does: the
values with the labels AWSCURRENT, AWSPENDING and AWSPREVIOUS are encrypted anew,
and all that come; older versions stay with the key they have. KEY is an alias, a
key's id or the ARN of either; default is the master key. A secret of another
account or region than the configuration's is named by its ARN.`,
		Example: `  pawl key assign alias/shop prod/shop prod/shop-admin
  pawl key assign arn:aws:kms:us-east-1:123456789012:key/1234abcd-… prod/shop
  pawl key assign default prod/shop`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeKeys(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withApp(g, cmd, func(ctx context.Context, a *app) error {
				key, names, called := args[0], args[1:], args[0]
				if key == masterKey {
					key, called = "", "the master key"
				}
				code := exitDone
				for _, name := range names {
					if err := a.svc.SetKey(ctx, name, key); err != nil {
						fmt.Fprintln(cmd.ErrOrStderr(), "pawl:", err)
						code = worse(code, codeOf(err))
						continue
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s is encrypted by %s.\n", name, called)
				}
				if code != exitDone {
					return &exitError{code: code}
				}
				return nil
			})
		},
	}
	return c
}
