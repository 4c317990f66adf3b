package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer/recipe"
)

// A text that cannot be written is a failure.
func TestTextsThatCannotBeWritten(t *testing.T) {
	full, into := io.Pipe()
	full.Close()
	a := &app{Console: cli.Console{Out: into, Err: &strings.Builder{}}}
	if err := a.printTexts([]recipe.Text{{IDs: []int{336}}}, []string{"ab"}); err == nil {
		t.Error("no error")
	}
	k := &cli.ErrorWriter{To: into}
	fmt.Fprint(k, "a")
	if fmt.Fprint(k, "b"); k.Err == nil {
		t.Error("no error is kept")
	}
}

// A text that a stop text ends at once is empty; the ids of what was cut do not stand for it.
func TestEmptyTexts(t *testing.T) {
	var out strings.Builder
	a := &app{Console: cli.Console{Out: &out, Err: &strings.Builder{}}}
	if err := a.printTexts([]recipe.Text{{IDs: []int{336}}}, []string{"ab"}); err != nil || out.String() != "ab\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
