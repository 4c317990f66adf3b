package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mambatrain/internal/fault"
	"mambatrain/internal/filelock"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/mpi"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("disk full"), 1},
		{Misusef("no such flag"), 2},
		{fault.List{{Path: "seed", Problem: "must be at least 0"}}, 2},
		{fault.NotFound("no column"), 2},
		{checkpoint.ErrNotEmpty, 2},
		{filelock.ErrLocked, 2},
		{fmt.Errorf("run: %w", trainer.ErrChanged), 2},
		{&trainer.RanksError{}, 2},
		{&mpi.RefusedError{}, 69},
		{&mpi.LostError{}, 75},
		{&trainer.StopError{}, 130},
		{context.Canceled, 130},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%T: code %d, want %d", c.err, got, c.want)
		}
	}
}

// TestMessage: text from a file can neither control the terminal nor flood it.
func TestMessage(t *testing.T) {
	if got, want := Message(fmt.Errorf("model \x1b[31m%s: damaged", strings.Repeat("x", 1<<20))), `model \x1b[31mxxx`; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "x: damaged") || len(got) > 1100 {
		t.Errorf("%d bytes, %.60q", len(got), got)
	}
	var faults fault.List
	for i := range 300_003 {
		faults.Add(fmt.Sprint("k", i), "unknown key")
	}
	got := strings.Split(Message(fmt.Errorf("x.yaml: %w", faults)), "\n")
	if got[0] != "x.yaml: 300003 faults" || got[1] != "  k0: unknown key" || len(got) != 42 || got[41] != "  and 299,963 more" {
		t.Errorf("%d lines: %q … %q", len(got), got[:2], got[len(got)-1])
	}
	if got, want := Message(fmt.Errorf("doctor: %w", fault.Join(nil, errors.New("a"), errors.New("b")))), "doctor: 2 faults\n  a\n  b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// Several causes of one error are not a list, even if its text is theirs.
	if got, want := Message(errors.Join(errors.New("write failed"), errors.New("close failed"))), "write failed\nclose failed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Message(&trainer.StopError{Step: 3}); got != "trainer: interrupted after step 3" {
		t.Error(got)
	}
	if got := Message(fault.List{{Path: "seed", Problem: "must be at least 0"}}); got != "seed: must be at least 0" {
		t.Error(got)
	}
}
