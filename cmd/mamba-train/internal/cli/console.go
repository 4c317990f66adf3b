// Package cli is shared by the commands: console, exit codes, signals, atomic output, and the wording of flag errors.
package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"mambatrain/internal/format"
)

// Console contains a command's input and output streams and the flags that control what it prints.
type Console struct {
	In       io.Reader
	Out, Err io.Writer

	JSON, Quiet, Verbose bool

	waiting atomic.Pointer[Wait] // the active one, or nil
}

// Say prints a message for people, unless --quiet is set.
func (c *Console) Say(message string, args ...any) {
	if !c.Quiet {
		c.line(message, args...)
	}
}

// Detail prints a message if --verbose is set.
func (c *Console) Detail(message string, args ...any) {
	if c.Verbose {
		c.line(message, args...)
	}
}

// Warn prints a warning, even if --quiet is set.
func (c *Console) Warn(message string, args ...any) { c.line("warning: "+message, args...) }

// line prints a message, which may contain text from files.
func (c *Console) line(message string, args ...any) {
	c.aside(func() {
		fmt.Fprintln(c.Err, Wrap(format.Printable(fmt.Sprintf(message, args...)), Columns(c.Err)))
	})
}

// Suggest prints a command to run next, unless --quiet is set. It quotes arguments where the shell needs it.
func (c *Console) Suggest(args ...string) {
	if !c.Quiet {
		c.aside(func() { fmt.Fprintln(c.Err, suggestion(args, Columns(c.Err))) })
	}
}

func suggestion(args []string, columns int) string {
	const blank = "\uE000" // stands for a blank in a quoted argument, where a line must not break
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = strings.ReplaceAll(format.Printable(Quote(arg)), " ", blank)
	}
	command := wrapCommand("next: mamba-train "+strings.Join(words, " "), columns)
	return strings.ReplaceAll(command, blank, " ")
}

// Result prints v as a JSON object if --json is set, and text otherwise.
func (c *Console) Result(v any, text string) error { return c.MarkedResult(v, format.Printable(text)) }

// MarkedResult is like Result for a text with terminal escape sequences. Text in it that comes from files must be
// printable.
func (c *Console) MarkedResult(v any, text string) error {
	c.EndWait()
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

// IsTerminal reports whether a stream is a terminal. Only terminals get progress and colors.
func IsTerminal(stream any) bool { return terminal(stream) != nil }

// terminal returns the terminal behind a stream, or nil.
func terminal(stream any) *os.File {
	if k, ok := stream.(*ErrorWriter); ok {
		stream = k.To
	}
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// NoArguments rejects positional arguments.
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
	return Misusef("%s takes no arguments, got %q%s (%s --help)", cmd.CommandPath(), args[0], hint, cmd.CommandPath())
}

// RequireFlags marks flags as required.
func RequireFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
}

// ErrorWriter writes to another writer until a write fails, and records the error.
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
