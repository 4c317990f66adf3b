// Package cli is what the commands share: the console, exit codes, signals, output that appears whole, and the words of flags.
package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"mambatrain/internal/format"
)

// Console is where a command reads and prints, and how much it prints.
type Console struct {
	In       io.Reader
	Out, Err io.Writer

	JSON, Quiet, Verbose bool
}

// Say prints a line for people, unless --quiet.
func (c *Console) Say(message string, args ...any) {
	if !c.Quiet {
		c.line(message, args...)
	}
}

// Detail prints a line under --verbose.
func (c *Console) Detail(message string, args ...any) {
	if c.Verbose {
		c.line(message, args...)
	}
}

// Warn prints a line that matters even to those who want it quiet.
func (c *Console) Warn(message string, args ...any) { c.line("warning: "+message, args...) }

// line prints text that may have parts of files in it.
func (c *Console) line(message string, args ...any) {
	fmt.Fprintln(c.Err, Wrap(format.Printable(fmt.Sprintf(message, args...)), Columns(c.Err)))
}

// Suggest prints a command to type next, unless --quiet. Its arguments are quoted where the shell needs it.
func (c *Console) Suggest(args ...string) {
	if !c.Quiet {
		fmt.Fprintln(c.Err, suggestion(args, Columns(c.Err)))
	}
}

func suggestion(args []string, columns int) string {
	const blank = "\uE000" // of a quoted argument, which is not broken there
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = strings.ReplaceAll(format.Printable(Quote(arg)), " ", blank)
	}
	command := wrapCommand("next: mamba-train "+strings.Join(words, " "), columns)
	return strings.ReplaceAll(command, blank, " ")
}

// Result prints v as one JSON object under --json, else text.
func (c *Console) Result(v any, text string) error { return c.MarkedResult(v, format.Printable(text)) }

// MarkedResult is Result for a text with escape sequences for the terminal. Parts of files in it must be printable.
func (c *Console) MarkedResult(v any, text string) error {
	if c.JSON {
		enc := json.NewEncoder(c.Out)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	if text == "" {
		return nil
	}
	_, err := fmt.Fprintln(c.Out, Wrap(strings.TrimRight(text, "\n"), Columns(c.Out)))
	return err
}

// IsTerminal reports whether a stream is one; progress and colors are for terminals only.
func IsTerminal(stream any) bool { return terminal(stream) != nil }

// terminal returns the terminal that a stream is, or nil.
func terminal(stream any) *os.File {
	if k, ok := stream.(*ErrorWriter); ok {
		stream = k.To
	}
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// NoArguments refuses arguments that are no flags.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if ext := filepath.Ext(args[0]); (ext == ".yaml" || ext == ".yml") && cmd.Flags().Lookup("config") != nil {
		hint = fmt.Sprintf("; did you mean --config %s?", Quote(args[0]))
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.NoOptDefVal != "" && f.Value.Type() != "bool" {
			hint = fmt.Sprintf("; did you mean --%s=%s?", f.Name, args[0])
		}
	})
	return Misusef("%s takes no argument, got %q%s (%s --help)", cmd.CommandPath(), args[0], hint, cmd.CommandPath())
}

// RequireFlags makes flags required.
func RequireFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
}

// ErrorWriter writes to another writer until a write fails, and stores the error.
type ErrorWriter struct {
	To  io.Writer
	Err error
}

func (k *ErrorWriter) Write(b []byte) (n int, err error) {
	if k.Err == nil {
		n, k.Err = k.To.Write(b)
	}
	return n, k.Err
}
