package main

import (
	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Long: `Print the JSON Schema of the training configuration. An editor with yaml-language-server completes, explains, and
checks the keys of a file that begins with the line
# yaml-language-server: $schema=schema.json
where schema.json is the output of this command, given as a path relative to that file.`,
		Example: "  mamba-train schema > schema.json",
		Args:    cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			text, err := config.JSONSchema()
			if err == nil {
				_, err = a.Out.Write(text)
			}
			return err
		},
	}
}
