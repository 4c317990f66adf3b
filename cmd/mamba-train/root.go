package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mambatrain/autograd/kernel"
)

// app is what all commands share: the streams and the common flags.
type app struct {
	in       io.Reader
	out, err io.Writer

	json, quiet, verbose bool
	threads              int
	precision            string

	downloads downloads
	began     bool // a command has taken over from the command line's reading
}

// run executes a command line and returns the exit code. Whatever goes wrong becomes a message here, and never a trace.
func run(args []string) (code int) {
	out := &keepError{to: os.Stdout}
	a := &app{in: os.Stdin, out: out, err: os.Stderr}
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(a.err, "mamba-train: internal error: %v\nPlease report it with the command line and the output of mamba-train version.\n", r)
			code = exitFailed
		}
	}()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(context.Background())
	a.downloads.end()
	if err == nil {
		a.began, err = true, out.err // help is written by cobra, which does not look
	}
	if err == nil {
		return exitDone
	}
	if !a.began {
		err = misuse(inOurWords(root, err))
	}
	fmt.Fprintf(a.err, "mamba-train: %s\n", message(err))
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "mamba-train",
		Short:   "Train, fine-tune, run and export Mamba language models on any CPU",
		Version: buildVersion().Version,
		Example: `  mamba-train train -c configs/quickstart.yaml
  mamba-train merge --adapter runs/quickstart --output runs/quickstart-merged
  mamba-train generate --model runs/quickstart-merged --prompt "A friend"`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misuse(flagError(cmd, err)) })
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print the result as one JSON object on standard output")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "print more detail")
	f.IntVar(&a.threads, "threads", 0, "worker threads; 0 = all cores")
	root.AddCommand(a.commands()...)
	a.takeOver(root)
	completions(root)
	root.SetHelpCommand(a.helpCommand())
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	return root
}

// takeOver marks, in every command below parent, the moment at which its command line has been read.
func (a *app) takeOver(parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		a.takeOver(cmd)
		run := cmd.RunE
		if run == nil {
			continue
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			if err := a.applyCommon(cmd); err != nil {
				return err
			}
			return run(cmd, args)
		}
	}
}

// applyCommon checks the common flags and sets what is global to the process.
func (a *app) applyCommon(cmd *cobra.Command) error {
	if a.threads < 0 {
		return misusef("--threads must not be negative, got %d", a.threads)
	}
	if a.quiet && a.verbose {
		return misusef("--quiet and --verbose exclude each other")
	}
	if f := cmd.Flags().Lookup("precision"); f != nil && a.precision != "float32" && a.precision != "bf16" {
		return misusef("--precision must be float32 or bf16, got %q", a.precision)
	}
	if err := kernel.ISAError(); err != nil {
		return misuse(err)
	}
	a.setThreads(a.threads)
	return nil
}

func (a *app) setThreads(n int) {
	if n > 0 {
		kernel.SetThreads(n)
	}
}

// precisionFlag adds --precision to a command that runs a model.
func (a *app) precisionFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.precision, "precision", "float32", "float32 or bf16 (weights in bfloat16)")
}

// say prints a line for people, unless --quiet.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// detail prints a line under --verbose.
func (a *app) detail(format string, args ...any) {
	if a.verbose {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// warn prints a line that matters even to those who want it quiet.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.err, "warning: "+format+"\n", args...)
}

// result prints v as one JSON object under --json, else what text says.
func (a *app) result(v any, text string) error {
	if a.json {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s\n", b)
		return err
	}
	if text == "" {
		return nil
	}
	_, err := fmt.Fprintln(a.out, strings.TrimRight(text, "\n"))
	return err
}

// isTerminal says whether a stream is one; progress and colours are for terminals only.
func isTerminal(stream any) bool {
	if k, ok := stream.(*keepError); ok {
		stream = k.to
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// noArguments refuses arguments that are no flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misusef("%s takes no argument, got %q (%s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return nil
}

// needFlags makes flags required.
func needFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
}
