package cli

import (
	"context"
	"errors"
	"fmt"
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
