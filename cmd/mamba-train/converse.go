package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/atomicfile"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

// converse reads prompts line by line and answers each, continuing from the last answer. An interrupt ends the current
// answer; the end of input ends the program.
func (a *app) converse(m *recipe.Model, f generateFlags, o recipe.TextOptions) error {
	if err := m.NeedTokenizer("--interactive"); err != nil {
		return err
	}
	o.Stream = func(text string) { fmt.Fprint(a.Out, text) }
	var err error
	if o.State, err = readState(m, f.state, 1); err != nil {
		return err
	}
	if o.State == nil {
		o.State = m.NewState(1) // an answer continues from the one before, whether or not a file keeps the state
	}
	interrupts := cli.NewInterrupts()
	defer interrupts.Stop()
	err = a.eachLine("Type a text to continue. Ctrl-C stops an answer, Ctrl-D ends.", func(line string) error {
		if line == "" && len(o.State.Tokens[0]) == o.State.Fed[0] {
			return nil
		}
		return a.answer(interrupts, m, o, line)
	})
	if err != nil {
		return err
	}
	return saveState(o.State, f.state)
}

// eachLine calls use with each line of the input until that ends; at a terminal it greets and prompts.
func (a *app) eachLine(greeting string, use func(line string) error) error {
	prompt := ""
	if cli.IsTerminal(a.In) {
		a.Say("%s", greeting)
		prompt = "> "
	}
	lines := bufio.NewScanner(a.In)
	lines.Buffer(nil, 1<<24)
	for fmt.Fprint(a.Err, prompt); lines.Scan(); fmt.Fprint(a.Err, prompt) {
		if err := use(lines.Text()); err != nil {
			return err
		}
	}
	if prompt != "" {
		fmt.Fprintln(a.Err)
	}
	return lines.Err()
}

func (a *app) answer(interrupts *cli.Interrupts, m *recipe.Model, o recipe.TextOptions, line string) error {
	ids, err := m.Encode(line)
	if err != nil {
		return err
	}
	ctx, done := interrupts.During()
	defer done()
	_, err = m.Continue(ctx, [][]int{ids}, o)
	fmt.Fprintln(a.Out)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// readState loads the state that prompts continue from; nil without a file.
func readState(m *recipe.Model, path string, sequences int) (*mamba.State, error) {
	if path == "" {
		return nil, nil
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return m.NewState(sequences), nil
	}
	return m.LoadState(path)
}

// checkState says whether a state can be left at path, before anything is done.
func checkState(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return cli.Misusef("--state %s is a directory", path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err == nil && !info.IsDir() {
		return cli.Misusef("--state %s: %s is no directory", path, filepath.Dir(path))
	}
	return nil
}

func saveState(s *mamba.State, path string) error {
	if path == "" {
		return nil
	}
	path, _, err := atomicfile.Target(path) // what a link leads to is replaced
	if err != nil {
		return err
	}
	if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return s.Save(path)
}
