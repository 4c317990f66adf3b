package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer"
	"mambatrain/trainer/mpi"
	"mambatrain/trainer/recipe"
)

// join makes this process one of the ranks started by a launcher. Without a launcher, it does nothing. Ranks other than 0
// print only warnings, prefixed with their rank.
func (a *app) join(d *recipe.DistributedConfig, threads int) (trainer.Communicator, error) {
	stderr := a.Err
	comm, err := recipe.Join(d, threads, func(line string) { fmt.Fprintf(stderr, "mamba-train: %s\n", line) })
	if err != nil {
		return nil, err
	}
	if comm.Rank() > 0 {
		a.Quiet = true
		a.Err = prefixWriter{stderr, mpi.Prefix(comm)}
	}
	return comm, nil
}

// prefixWriter writes a prefix before every message.
type prefixWriter struct {
	io.Writer
	prefix string
}

func (p prefixWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.Writer, p.prefix+string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// trainingContext returns a context that is canceled by a signal. A scheduler that sends SIGTERM leaves little time, so
// after SIGTERM the run does not wait for ranks that have already exited. A run in a single process continues if nobody
// reads its output anymore: a Ctrl-C also ends the tee in a pipeline, and must not end the run before it is saved.
func trainingContext(comm trainer.Communicator) (ctx context.Context, stop func()) {
	if comm.Size() == 1 {
		signal.Ignore(syscall.SIGPIPE)
	}
	var others []os.Signal
	if cli.SaveSignal != nil {
		others = append(others, cli.SaveSignal)
	}
	ctx, stop = cli.NotifyContext(others...)
	if c, ok := comm.(*mpi.Comm); ok {
		context.AfterFunc(ctx, func() {
			if s, ok := context.Cause(ctx).(cli.Interrupt); ok && s.Signal == syscall.SIGTERM {
				c.ShortenTimeouts()
			}
		})
	}
	return ctx, stop
}

// leave ends a run. If all ranks have the same error, rank 0 reports it; a rank that fails alone aborts the others.
func (a *app) leave(ctx context.Context, comm trainer.Communicator, err error) error {
	err = cli.WithSignal(ctx, err)
	if comm.Size() == 1 {
		return asSuccess(err)
	}
	if err != nil && !onAllRanks(err) {
		comm.Abort(cli.ExitCode(err), cli.Message(err))
	}
	if errors.As(err, new(*trainer.StopError)) {
		err = agreeOnSignal(comm, err)
	}
	if cerr := comm.Close(); cerr != nil {
		return cerr
	}
	if comm.Rank() > 0 {
		a.Err = io.Discard
	}
	return asSuccess(err)
}

// onAllRanks reports whether all ranks return this error at the same point.
func onAllRanks(err error) bool {
	var interrupted *trainer.StopError
	var disagree *trainer.RanksError
	switch {
	case errors.As(err, &interrupted):
		return interrupted.Err == nil
	case errors.As(err, &disagree):
		return disagree.All
	}
	return errors.As(err, new(*trainer.NonFiniteError))
}

// agreeOnSignal gives all ranks the signal that one of them received, so that they exit with the same code.
func agreeOnSignal(comm trainer.Communicator, err error) error {
	number := []float64{0}
	var s cli.InterruptError
	if errors.As(err, &s) {
		if n, ok := s.Signal.(syscall.Signal); ok {
			number[0] = float64(n)
		}
	}
	if merr := comm.AllReduceMax(number); merr != nil {
		return merr
	}
	if number[0] == 0 {
		return err
	}
	return cli.InterruptError{Signal: syscall.Signal(number[0]), Err: err}
}

// asSuccess turns the error of a run stopped by SIGUSR1 into a success. A scheduler sends SIGUSR1 before a job's time
// limit, so that the run saves its state and resumes in the next job.
func asSuccess(err error) error {
	var s cli.InterruptError
	var i *trainer.StopError
	if errors.As(err, &s) && s.Signal == cli.SaveSignal && errors.As(err, &i) && i.Err == nil {
		return cli.Success{Err: err}
	}
	return err
}
