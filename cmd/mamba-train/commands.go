package main

import (
	"github.com/spf13/cobra"
)

// commands lists the commands of the program.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.trainCommand(),
		a.evalCommand(),
		a.generateCommand(),
		a.mergeCommand(),
		a.unmergeCommand(),
		a.convertCommand(),
		a.exportCommand(),
		a.initCommand(),
		a.dataCommand(),
		a.infoCommand(),
		a.benchCommand(),
		a.plotCommand(),
		a.graphCommand(),
		a.studioCommand(),
		a.doctorCommand(),
		a.schemaCommand(),
		a.versionCommand(),
	}
}
