package main

import "github.com/spf13/cobra"

// commands lists the commands in the order of the help text.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.trainCommand(),
		a.evalCommand(),
		a.mergeCommand(),
		a.generateCommand(),
		a.initCommand(),
		a.benchCommand(),
		a.versionCommand(),
	}
}
