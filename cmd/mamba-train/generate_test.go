package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// A text that cannot be written is a failure.
func TestTextsThatCannotBeWritten(t *testing.T) {
	full, into := io.Pipe()
	full.Close()
	a := &app{out: into, err: &strings.Builder{}}
	for _, live := range []bool{true, false} {
		if err := a.printTexts([]text{{IDs: []int{336}}}, []string{"ab"}, live, true, time.Second); err == nil {
			t.Errorf("live %v: no error", live)
		}
	}
	k := &keepError{to: into}
	fmt.Fprint(k, "a")
	if fmt.Fprint(k, "b"); k.err == nil {
		t.Error("no error is kept")
	}
}

// A text that a stop text ends at once is empty; the ids of what was cut do not stand for it.
func TestEmptyTexts(t *testing.T) {
	var out strings.Builder
	a := &app{out: &out, err: &strings.Builder{}}
	if err := a.printTexts([]text{{IDs: []int{336}}}, []string{"ab"}, false, true, time.Second); err != nil || out.String() != "ab\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
