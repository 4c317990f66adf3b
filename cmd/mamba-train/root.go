package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/internal/mappedfile"
	"mambatrain/mamba"
)

// app is the state shared by all commands: the streams and the common flags.
type app struct {
	cli.Console
	threads   int
	precision mamba.Precision
	device    string

	downloads downloads
	parsed    bool // the command line was parsed and a command was started
}

// run executes a command line and returns the exit code. It prints every error, including a panic, as a message without a
// stack trace.
func run(args []string) (code int) {
	out := &cli.ErrorWriter{To: os.Stdout}
	a := &app{Console: cli.Console{In: os.Stdin, Out: out, Err: os.Stderr}}
	debug.SetPanicOnFault(true) // see package mappedfile
	defer func() {
		r := recover()
		a.EndWait()
		if err := mappedfile.Explain(r); err != nil {
			fmt.Fprintln(a.Err, cli.Wrap("mamba-train: "+cli.Message(err), cli.Columns(a.Err)))
			code = cli.ExitFailed
		} else if r != nil {
			fmt.Fprintf(a.Err, "mamba-train: internal error: %s\nPlease report it with the command line and the output of mamba-train version.\n", cli.Message(fmt.Errorf("%v", r)))
			code = cli.ExitFailed
		}
	}()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	err := root.ExecuteContext(context.Background())
	a.downloads.end()
	a.EndWait()
	if err == nil {
		a.parsed, err = true, out.Err // cobra ignores write errors when it prints help
	}
	if err == nil {
		return cli.ExitDone
	}
	if !a.parsed {
		err = cli.Misuse(cli.CommandError(root, err))
	}
	fmt.Fprintln(a.Err, cli.Wrap("mamba-train: "+cli.Message(err), cli.Columns(a.Err)))
	return cli.ExitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "mamba-train",
		Short:   "Train, fine-tune, run, and export Mamba language models on any CPU",
		Version: buildVersion().Version,
		Example: `  mamba-train train -c configs/quickstart.yaml
  mamba-train merge --adapter runs/quickstart --output runs/quickstart-merged
  mamba-train generate --model runs/quickstart-merged --prompt "A friend"`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return cli.Misuse(cli.FlagError(cmd, err)) })
	f := root.PersistentFlags()
	f.BoolVar(&a.JSON, "json", false, "print the result as one JSON object on standard output")
	f.BoolVarP(&a.Quiet, "quiet", "q", false, "print only results and errors")
	f.BoolVarP(&a.Verbose, "verbose", "v", false, "print more detail")
	f.IntVar(&a.threads, "threads", 0, "worker threads; 0 = all cores")
	root.AddCommand(a.commands()...)
	a.markParsed(root)
	completions(root)
	root.SetHelpCommand(a.helpCommand())
	root.SetHelpFunc(a.printHelp)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	return root
}

// markParsed makes every command below parent set a.parsed when it runs.
func (a *app) markParsed(parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		a.markParsed(cmd)
		run := cmd.RunE
		if run == nil {
			continue
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.parsed = true
			if err := a.applyCommon(cmd); err != nil {
				return err
			}
			return run(cmd, args)
		}
	}
}

// applyCommon checks the common flags and applies the settings that are global to the process.
func (a *app) applyCommon(cmd *cobra.Command) error {
	if err := cli.ExpandPaths(cmd); err != nil {
		return err
	}
	if a.threads < 0 {
		return cli.Misusef("--threads must not be negative, got %d", a.threads)
	}
	if a.Quiet && a.Verbose {
		return cli.Misusef("--quiet and --verbose cannot be used together")
	}
	if cmd.Flags().Lookup("precision") != nil {
		if err := a.setPrecision("--precision", mamba.Precision(cmd.Flag("precision").Value.String())); err != nil {
			return err
		}
	}
	if err := kernel.ISAError(); err != nil {
		return cli.Misuse(err)
	}
	a.setThreads(a.threads)
	return nil
}

// setPrecision sets the precision of the weights. name is the flag or configuration key that selected it.
func (a *app) setPrecision(name string, precision mamba.Precision) error {
	if precision.Validate() != nil {
		return cli.Misusef("%s must be one of %s, got %q", name, strings.Join(mamba.Precisions(), ", "), precision)
	}
	a.precision = precision
	return nil
}

func (a *app) setThreads(n int) {
	if n > 0 {
		kernel.SetThreads(n)
	}
}

// precisionFlag defines --precision for a command that runs a model.
func (a *app) precisionFlag(cmd *cobra.Command) {
	cmd.Flags().String("precision", string(mamba.Stored), "precision of frozen weights: float32, bf16, q8, q4 (q8 and q4 as in Q8_0 and Q4_K_M files), or auto (as stored in a GGUF file, otherwise float32)")
}

// commonFlags returns the given common flags that set configuration keys.
func commonFlags(cmd *cobra.Command) (given []config.Flag) {
	for _, name := range []string{"threads", "precision", "device"} {
		if fl := cmd.Flag(name); fl != nil && fl.Changed {
			given = append(given, config.Flag{Name: name, Key: name, Value: fl.Value.String()})
		}
	}
	return given
}

// printHelp prints cobra's help, wrapped on a terminal.
func (a *app) printHelp(cmd *cobra.Command, _ []string) {
	text := strings.TrimSpace(cmp.Or(cmd.Long, cmd.Short)) + "\n\n" + cmd.UsageString()
	fmt.Fprint(a.Out, cli.WrapHelp(text, cli.Columns(a.Out)))
}

// helpCommand returns the help command, which prints the same text as a command's --help.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Show help for a command",
		Example: "  mamba-train help train",
		RunE: func(help *cobra.Command, args []string) error {
			cmd, rest, err := help.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return cli.Misusef("%s: no such command (mamba-train --help)", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}
