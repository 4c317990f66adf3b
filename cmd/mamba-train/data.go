package main

import (
	"github.com/spf13/cobra"
)

func (a *app) dataCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "Inspect data, tokenize it, or train a tokenizer on it",
		Example: `  mamba-train data inspect -c configs/quickstart.yaml
  mamba-train data stats -c configs/quickstart.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tokenizeCommand(), a.inspectCommand(), a.statsCommand(), a.trainTokenizerCommand())
	return cmd
}
