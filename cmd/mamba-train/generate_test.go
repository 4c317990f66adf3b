package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer/recipe"
)

// A failure to write a text is an error.
func TestTextsWriteError(t *testing.T) {
	full, into := io.Pipe()
	full.Close()
	a := &app{Console: cli.Console{Out: into, Err: &strings.Builder{}}}
	r, err := a.openAnswers(generateFlags{}, []prompt{{text: "ab"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.done(0, recipe.Text{IDs: []int{336}}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
	k := &cli.ErrorWriter{To: into}
	fmt.Fprint(k, "a")
	if fmt.Fprint(k, "b"); k.Err == nil {
		t.Error("the error was lost")
	}
}

// If generation stops at once, the text is empty; it is not replaced by the ids that were cut off.
func TestEmptyTexts(t *testing.T) {
	var out strings.Builder
	a := &app{Console: cli.Console{Out: &out, Err: &strings.Builder{}}}
	r, err := a.openAnswers(generateFlags{}, []prompt{{text: "ab"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.done(0, recipe.Text{IDs: []int{336}}); err != nil || out.String() != "ab\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// Texts are printed in the order of their prompts, no matter which is complete first.
func TestTextsInOrder(t *testing.T) {
	var out strings.Builder
	a := &app{Console: cli.Console{Out: &out, Err: &strings.Builder{}}}
	r, err := a.openAnswers(generateFlags{prompts: "p.txt"}, []prompt{{text: "a"}, {text: ""}, {text: "c"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{2, 0, 1} {
		if err := r.done(i, recipe.Text{Text: strings.Repeat("x", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[0] ax\n\n[1] xx\n\n[2] cxxx\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// A line that is too long is reported as such.
func TestEachLine_long(t *testing.T) {
	a := &app{Console: cli.Console{In: strings.NewReader(strings.Repeat("a", longestLine+1)), Err: io.Discard}}
	interrupts := cli.NewInterrupts()
	defer interrupts.Stop()
	err := a.eachLine(interrupts, "", func(string) error { return nil })
	if err == nil || err.Error() != "standard input: a line is longer than the limit of 16 MiB" {
		t.Errorf("error %v", err)
	}
}

// Command-line texts that are not valid UTF-8 are rejected before anything is printed.
func TestTextsNotUTF8(t *testing.T) {
	for _, args := range [][]string{{"--prompt", "a\xff"}, {"--prompt", "a", "--stop", "\xff"}, {"--chat", "--system", "b\xc3"}} {
		a := &app{Console: cli.Console{Out: io.Discard, Err: io.Discard}}
		root := a.root()
		root.SetArgs(append([]string{"generate", "--model", "nowhere"}, args...))
		if err := root.Execute(); !cli.IsMisuse(err) || !strings.Contains(err.Error(), "is not UTF-8: byte 0x") {
			t.Errorf("%q: error %v", args, err)
		}
	}
}
