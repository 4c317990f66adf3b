package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mambatrain/internal/spelling"
)

// flagError says what is wrong with a flag, and which one was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		f := invalid.GetFlag()
		want, ok := map[string]string{"int": "a whole number", "uint64": "a whole number of 0 or more", "float64": "a number", "bool": "true or false"}[f.Value.Type()]
		if ok {
			text = fmt.Sprintf("--%s: want %s, got %q", f.Name, want, invalid.GetValue())
		}
	}
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		name, _, _ = strings.Cut(name, "=")
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		text = "unknown flag --" + name
		if near := spelling.Nearest(name, names); near != "" {
			text += "; did you mean --" + near + "?"
		}
	}
	return fmt.Errorf("%s (%s --help)", text, cmd.CommandPath())
}

// cobra's words for flags that are missing or do not go together.
var (
	missingFlags   = regexp.MustCompile(`^required flag\(s\) (.+) not set$`)
	eitherFlag     = regexp.MustCompile(`^at least one of the flags in the group \[(.+)\] is required$`)
	unknownCommand = regexp.MustCompile(`^unknown command "(.+)" for "mamba-train ?(.*)"`)
	exclusiveFlags = regexp.MustCompile(`none of the others can be; \[(.+)\] were all set$`)
)

// inOurWords is an error of the command line below root as this program says it.
func inOurWords(root *cobra.Command, err error) error {
	text := err.Error()
	if m := unknownCommand.FindStringSubmatch(text); m != nil {
		parent, _, err := root.Find(strings.Fields(m[2]))
		if err != nil {
			return err
		}
		var names []string
		for _, cmd := range parent.Commands() {
			names = append(names, cmd.Name())
		}
		return fmt.Errorf("unknown command %q%s (%s --help)", m[1], didYouMean(m[1], names), parent.CommandPath())
	}
	if m := missingFlags.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("--%s must be given", strings.ReplaceAll(strings.ReplaceAll(m[1], `"`, ""), ", ", " and --"))
	}
	if m := eitherFlag.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("--%s must be given", strings.ReplaceAll(m[1], " ", " or --"))
	}
	if m := exclusiveFlags.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("--%s exclude each other", strings.ReplaceAll(m[1], " ", " and --"))
	}
	return err
}

// helpCommand explains a command as its --help does.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Explain a command",
		Example: "  mamba-train help train",
		RunE: func(help *cobra.Command, args []string) error {
			cmd, rest, err := help.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return misusef("%s: there is no such command (mamba-train --help)", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}
