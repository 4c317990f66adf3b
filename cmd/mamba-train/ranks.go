package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"mambatrain/autograd/kernel"
	"mambatrain/trainer"
	"mambatrain/trainer/mpi"
)

// join makes this process one of the ranks that a launcher has started, or leaves it alone. Ranks other than 0 do not
// report; their warnings say whose they are.
func (a *app) join(d *DistributedConfig, threads int) (trainer.Communicator, error) {
	if d == nil {
		d = defaultDistributed()
	}
	stderr := a.err
	comm, err := mpi.Open(mpi.Options{
		Library: d.Library, Timeout: d.Timeout, Native: d.Reduce == "native", BucketBytes: d.BucketMB << 20,
		Print: func(line string) { fmt.Fprintf(stderr, "mamba-train: %s\n", line) },
	})
	if err != nil {
		return nil, err
	}
	if c, ok := comm.(*mpi.Comm); ok && threads == 0 {
		kernel.SetThreads(c.Cores())
	}
	if comm.Rank() > 0 {
		a.quiet = true
		a.err = prefixed{stderr, mpi.Prefix(comm)}
	}
	return comm, nil
}

// spareCore says whether this rank has a core beside those of the kernels, for the thread that makes MPI calls.
func spareCore(comm trainer.Communicator) bool {
	c, ok := comm.(*mpi.Comm)
	if !ok {
		return false
	}
	own := c.Cores()
	if own == 0 {
		own = runtime.GOMAXPROCS(0)
	}
	return kernel.Threads() < own
}

// prefixed writes every message after a prefix.
type prefixed struct {
	io.Writer
	prefix string
}

func (p prefixed) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.Writer, p.prefix+string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// trainingContext is interruptible for a run. A scheduler that has sent SIGTERM leaves little time: ranks that are gone
// already are then not waited for.
func trainingContext(comm trainer.Communicator) (ctx context.Context, stop func()) {
	var others []os.Signal
	if saveSignal != nil {
		others = append(others, saveSignal)
	}
	ctx, stop = interruptible(others...)
	if c, ok := comm.(*mpi.Comm); ok {
		context.AfterFunc(ctx, func() {
			if s, ok := context.Cause(ctx).(caught); ok && s.signal == syscall.SIGTERM {
				c.Hurry()
			}
		})
	}
	return ctx, stop
}

// leave ends a run. On several ranks rank 0 reports what all of them know; a rank that fails by itself ends the others.
func (a *app) leave(ctx context.Context, comm trainer.Communicator, err error) error {
	err = signalled(ctx, err)
	if comm.Size() == 1 {
		return discharge(err)
	}
	if err != nil && !common(err) {
		comm.Abort(exitCode(err), message(err))
	}
	if errors.As(err, new(*trainer.Interrupted)) {
		err = sameSignal(comm, err)
	}
	if cerr := comm.Close(); cerr != nil {
		return cerr
	}
	if comm.Rank() > 0 {
		a.err = io.Discard
	}
	return discharge(err)
}

// common says whether all ranks end with this error at the same point.
func common(err error) bool {
	var interrupted *trainer.Interrupted
	var disagree *trainer.RanksError
	switch {
	case errors.As(err, &interrupted):
		return interrupted.Err == nil
	case errors.As(err, &disagree):
		return disagree.All
	}
	return errors.As(err, new(*trainer.NonFinite))
}

// sameSignal makes the signal that has reached a rank that of all of them, so that they end with the same code.
func sameSignal(comm trainer.Communicator, err error) error {
	number := []float64{0}
	var s stopped
	if errors.As(err, &s) {
		if n, ok := s.signal.(syscall.Signal); ok {
			number[0] = float64(n)
		}
	}
	if merr := comm.AllReduceMax(number); merr != nil {
		return merr
	}
	if number[0] == 0 {
		return err
	}
	return stopped{syscall.Signal(number[0]), err}
}

// discharge makes the end that SIGUSR1 asks for a success: a scheduler sends it before a job's time is over, so that it
// saves its state and goes on in the next job.
func discharge(err error) error {
	var s stopped
	var i *trainer.Interrupted
	if errors.As(err, &s) && s.signal == saveSignal && errors.As(err, &i) && i.Err == nil {
		return saved{err}
	}
	return err
}

// saved is the end of a run that was told to save its state, and did.
type saved struct{ error }

func (s saved) Unwrap() error { return s.error }
