package fault_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
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
	l.IncludeFrom("run.yaml", "train", fault.List{{Path: "seed", Problem: "is invalid"}})
	if got, want := l[3].Error(), "run.yaml: train.seed: is invalid"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := len(l.Unwrap()); n != 4 {
		t.Errorf("%d errors, want 4", n)
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

func TestNoFile(t *testing.T) {
	err := fault.NoFile("data: %s: no such file or directory", "a.csv")
	if !errors.Is(err, fault.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) || err.Error() != "data: a.csv: no such file or directory" {
		t.Error(err)
	}
	if errors.Is(fault.NotFound("no column"), fs.ErrNotExist) {
		t.Error("a column is not a file")
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

func TestNumbers(t *testing.T) {
	inf := math.Inf(1)
	for v, want := range map[float64]string{inf: "inf", -inf: "-inf", 1e300: "1e+300", -0.5: "-0.5"} {
		if got := fault.Number(v); got != want {
			t.Errorf("%v is formatted as %q, want %q", v, got, want)
		}
	}
	var l fault.List
	for _, v := range []float64{1, inf, -inf, math.NaN(), 0} {
		l.Positive("x", v)
		l.NotNegative("y", v)
	}
	want := "x: must be a finite number, got inf\ny: must be a finite number, got inf\nx: must be positive, got -inf\n" +
		"y: must not be negative, got -inf\nx: must be positive, got nan\ny: must not be negative, got nan\nx: must be positive, got 0"
	if l.Error() != want {
		t.Errorf("got\n%v", l)
	}
}

func TestCheckText(t *testing.T) {
	for text, want := range map[string]string{"": "", "é\uFFFD": "", "é\xff": "text: is not UTF-8: byte 0xff at offset 2", "\xc3": "text: is not UTF-8: byte 0xc3 at offset 0"} {
		got := ""
		if err := fault.CheckText("text", text); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestJoin(t *testing.T) {
	if err := fault.Join(nil, nil); err != nil {
		t.Errorf("no errors give %v", err)
	}
	first := errors.New("a")
	err := fault.Join(first, nil, errors.New("b"))
	if list, ok := err.(fault.Errors); !ok || len(list) != 2 || !errors.Is(err, first) || err.Error() != "a\nb" {
		t.Errorf("%T %v", err, err)
	}
}
