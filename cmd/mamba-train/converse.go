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

// converse reads prompts line by line and continues each one from the state left by the previous answer. An interrupt ends
// the current answer; the end of input ends the program.
func (a *app) converse(m *recipe.Model, f generateFlags, o recipe.TextOptions) error {
	if err := m.NeedTokenizer("--interactive"); err != nil {
		return err
	}
	o.Stream = func(text string) { fmt.Fprint(a.Out, text) }
	var err error
	if o.State, err = readState(m, f.state); err != nil {
		return err
	}
	if o.State == nil {
		o.State = m.NewState(1) // each answer continues from the previous one, even if no file stores the state
	}
	interrupts := cli.NewInterrupts()
	defer interrupts.Stop()
	err = a.eachLine(interrupts, "Type a text to continue. Ctrl-C stops an answer, Ctrl-D exits.", func(line string) error {
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

// longestLine is the maximum size in bytes of a line that eachLine reads.
const longestLine = 16 << 20

// eachLine calls use for each line of the input. On a terminal, it prints a greeting and prompts for each line. If use reports
// misuse, the line is skipped with a warning; on a terminal this applies to all errors, because the user can try again. Except
// on a terminal, an interrupt between two lines ends the program.
func (a *app) eachLine(interrupts *cli.Interrupts, greeting string, use func(line string) error) error {
	prompt, talks := "", cli.IsTerminal(a.In)
	if talks {
		a.Say("%s", greeting)
		prompt = "> "
	}
	in := bufio.NewScanner(a.In)
	in.Buffer(nil, longestLine)
	wanted, found := make(chan struct{}, 1), make(chan bool)
	defer close(wanted)
	go func() { // may be blocked reading when an interrupt arrives
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
				if errors.Is(in.Err(), bufio.ErrTooLong) {
					return fmt.Errorf("standard input: a line is longer than the limit of %d MiB", longestLine>>20)
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
			a.Say("Ctrl-D exits.")
		}
	}
}

func (a *app) answer(interrupts *cli.Interrupts, m *recipe.Model, o recipe.TextOptions, line string) error {
	ids, err := m.EncodeAfter(o.State, line)
	if err != nil {
		return err
	}
	ctx, done := interrupts.During()
	defer done()
	_, err = m.Continue(ctx, [][]int{ids}, o)
	done() // an interrupt after the newline no longer affects this answer
	fmt.Fprintln(a.Out)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// readState loads the state that a prompt continues from, or returns nil if no file is given.
func readState(m *recipe.Model, path string) (*mamba.State, error) {
	if path == "" {
		return nil, nil
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return m.NewState(1), nil
	}
	s, err := m.LoadState(path)
	if err != nil {
		return nil, err
	}
	return s, cli.CheckDistinct("--state", path, m.Inputs()...)
}

// checkState returns an error if a state cannot be written to path. It is called before any work is done.
func checkState(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return cli.Misusef("--state %s is a directory", path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err == nil && !info.IsDir() {
		return cli.Misusef("--state %s: %s is not a directory", path, filepath.Dir(path))
	}
	return nil
}

func saveState(m *recipe.Model, s *mamba.State, path string) error {
	if path == "" {
		return nil
	}
	path, _, err := atomicfile.Target(path) // replace the target of a link
	if err != nil {
		return err
	}
	if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return m.SaveState(s, path)
}
