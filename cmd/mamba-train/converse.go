package main

import (
	"bufio"
	"cmp"
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
	err = a.eachLine(interrupts, "Type a text to continue. Ctrl-C stops an answer, Ctrl-D ends.", func(line string) error {
		if line == "" && len(o.State.Tokens[0]) == o.State.Fed[0] {
			return nil
		}
		return a.answer(interrupts, m, o, line)
	})
	if err != nil && !errors.As(err, new(cli.InterruptError)) {
		return err
	}
	return cmp.Or(saveState(m, o.State, f.state), err)
}

// eachLine calls use with each line of the input until that ends; at a terminal it greets and prompts. A line that is wrong
// is said and passed over, and at a terminal whatever fails is, since somebody can try again. An interrupt between two
// lines ends the program, except at a terminal.
func (a *app) eachLine(interrupts *cli.Interrupts, greeting string, use func(line string) error) error {
	prompt, talks := "", cli.IsTerminal(a.In)
	if talks {
		a.Say("%s", greeting)
		prompt = "> "
	}
	in := bufio.NewScanner(a.In)
	in.Buffer(nil, 1<<24)
	wanted, found := make(chan struct{}, 1), make(chan bool)
	defer close(wanted)
	go func() { // which may wait when an interrupt comes
		for range wanted {
			found <- in.Scan()
		}
	}()
	wanted <- struct{}{}
	for {
		fmt.Fprint(a.Err, prompt)
		select {
		case more := <-found:
			if !more {
				if talks {
					fmt.Fprintln(a.Err)
				}
				return in.Err()
			}
			err := use(in.Text())
			if err != nil && !errors.Is(err, errQuit) && (talks || cli.IsMisuse(err)) {
				a.Warn("%v", err)
			} else if err != nil {
				return err
			}
			wanted <- struct{}{}
		case <-interrupts.Idle:
			if !talks {
				stopped := cli.Interrupt{Signal: os.Interrupt}
				return cli.InterruptError{Signal: stopped.Signal, Err: stopped}
			}
			fmt.Fprintln(a.Err)
			a.Say("Ctrl-D ends.")
		}
	}
}

func (a *app) answer(interrupts *cli.Interrupts, m *recipe.Model, o recipe.TextOptions, line string) error {
	ids, err := m.Encode(line)
	if err != nil {
		return err
	}
	ctx, done := interrupts.During()
	defer done()
	_, err = m.Continue(ctx, [][]int{ids}, o)
	done() // what follows the newline is no longer this answer's
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

func saveState(m *recipe.Model, s *mamba.State, path string) error {
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
	return m.SaveState(s, path)
}
