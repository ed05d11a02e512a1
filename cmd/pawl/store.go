package main

import "github.com/spf13/cobra"

func newStore(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "store",
		Short: "Make a shared store ready, look at a store, move it",
		Long: `Secrets are kept in one store: a file beside the configuration, or a PostgreSQL
database that several Pawls share.`,
		Example: "  pawl store migrate\n  pawl store status\n  pawl store copy --from pawl.yaml --to shared.yaml",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newStoreMigrate(g), newStoreStatus(g), newStoreCopy(g))
	return c
}
