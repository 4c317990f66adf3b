package fault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"mambatrain/internal/fault"
)

func TestList(t *testing.T) {
	var inner fault.List
	if inner.Err() != nil {
		t.Error("an empty list is an error")
	}
	inner.Add("r", "must be positive, got %d", 0)
	inner.Add("", "cannot be combined")

	var l fault.List
	l.Include("lora", fmt.Errorf("wrapped: %w", inner))
	l.Include("data", errors.New("no source"))
	l.Include("train", nil)
	want := "lora.r: must be positive, got 0\nlora: cannot be combined\ndata: no source"
	if l.Error() != want {
		t.Errorf("got %q, want %q", l.Error(), want)
	}
	if n := len(l.Unwrap()); n != 3 {
		t.Errorf("%d errors, want 3", n)
	}
	if f := (fault.Fault{}); !errors.As(l.Err(), &f) || f.Path != "lora.r" {
		t.Errorf("errors.As finds %v", f)
	}
}

func TestNotFound(t *testing.T) {
	err := fmt.Errorf("data: %w", fault.NotFound("no column %q", "text"))
	if !errors.Is(err, fault.ErrNotFound) || err.Error() != `data: no column "text"` {
		t.Error(err)
	}
}

func TestReport(t *testing.T) {
	var l fault.List
	for i := range 62 {
		l.Add("tensor", "%d is missing", i)
	}
	lines := strings.Split(l.Report(), "\n  ")
	if len(lines) != 9 || lines[0] != "tensor: 0 is missing" || lines[8] != "and 54 more" {
		t.Errorf("%d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
	if got := l[:1].Report(); got != "tensor: 0 is missing" {
		t.Errorf("got %q", got)
	}
}
