package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mambatrain/internal/homepath"
	"mambatrain/internal/spelling"
)

// FlagError explains a flag error and suggests the flag that was probably meant.
func FlagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		f := invalid.GetFlag()
		want, ok := map[string]string{"int": "a whole number", "uint64": "a non-negative whole number", "float64": "a number", "bool": "true or false"}[f.Value.Type()]
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
		} else if cmd.Flags().Lookup("set") != nil {
			text += "; set configuration keys with --set KEY=VALUE"
		}
	}
	return fmt.Errorf("%s (%s --help)", text, cmd.CommandPath())
}

// Messages of cobra about missing and conflicting flags.
var (
	missingFlags   = regexp.MustCompile(`^required flag\(s\) (.+) not set$`)
	eitherFlag     = regexp.MustCompile(`^at least one of the flags in the group \[(.+)\] is required$`)
	unknownCommand = regexp.MustCompile(`^unknown command "(.+)" for "mamba-train ?(.*)"`)
	exclusiveFlags = regexp.MustCompile(`none of the others can be; \[(.+)\] were all set$`)
)

// CommandError rewords an error of cobra about the command line below root.
func CommandError(root *cobra.Command, err error) error {
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
		return fmt.Errorf("unknown command %q%s (%s --help)", m[1], spelling.DidYouMean(m[1], names), parent.CommandPath())
	}
	if m := missingFlags.FindStringSubmatch(text); m != nil {
		names := strings.Split(strings.ReplaceAll(m[1], `"`, ""), ", ")
		verb := "is"
		if len(names) > 1 {
			verb = "are"
		}
		return fmt.Errorf("--%s %s required", strings.Join(names, " and --"), verb)
	}
	if m := eitherFlag.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("--%s is required", strings.ReplaceAll(m[1], " ", " or --"))
	}
	if m := exclusiveFlags.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("--%s cannot be used together", strings.ReplaceAll(m[1], " ", " and --"))
	}
	return err
}

// pathFlags are the flags whose values are paths, in any command.
var pathFlags = []string{
	"adapter", "base", "cache", "config", "data", "dir", "initial-state", "model", "output", "per-row", "plot", "prompts", "resume",
	"state", "tokenizer",
}

// isPath reports whether the value of a flag is a path. In commands other than generate, --messages is
// a column.
func isPath(cmd *cobra.Command, flag string) bool {
	return slices.Contains(pathFlags, flag) || flag == "messages" && cmd.Name() == "generate"
}

// ExpandPaths expands ~ and variables in the values of path flags, because shells do not expand --model=~/m.
func ExpandPaths(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !isPath(cmd, f.Name) || err != nil {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			paths := list.GetSlice()
			for i := range paths {
				paths[i] = homepath.Expand(paths[i])
			}
			err = list.Replace(paths)
			return
		}
		err = f.Value.Set(homepath.Expand(f.Value.String()))
	})
	return err
}

// Complete registers the values of a flag for shell completion. No space is added after a value that ends in "=".
func Complete(cmd *cobra.Command, flag string, values ...string) {
	how := cobra.ShellCompDirectiveNoFileComp
	if strings.HasSuffix(values[0], "=") {
		how |= cobra.ShellCompDirectiveNoSpace
	}
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, how))
	if err != nil {
		panic(err) // the flag does not exist, which is a bug in this package
	}
}
