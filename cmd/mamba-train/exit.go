package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	faults "mambatrain/internal/fault"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// Exit codes. They are part of the program's interface.
const (
	exitDone       = 0
	exitFailed     = 1  // input damaged, disk full, not finite, peer failed
	exitMisuse     = 2  // flags, configuration, names that lead nowhere
	exitLauncher   = 69 // the MPI library and the launcher do not belong together
	exitTryAgain   = 75 // a collective timed out or a rank was lost
	exitSignalBase = 128
)

// misused is an error in how the program was called.
type misused struct{ error }

func (m misused) Unwrap() error { return m.error }

// misuse marks err as wrong use; nil stays nil.
func misuse(err error) error {
	if err == nil {
		return nil
	}
	return misused{err}
}

func misusef(format string, args ...any) error { return misused{fmt.Errorf(format, args...)} }

// stopped is the end of a command that a signal asked to stop.
type stopped struct {
	signal os.Signal
	err    error
}

func (s stopped) Error() string { return s.err.Error() }
func (s stopped) Unwrap() error { return s.err }

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	var signal stopped
	var coded interface{ ExitCode() int }
	switch {
	case err == nil, errors.As(err, new(saved)):
		return exitDone
	case errors.As(err, &signal):
		if n, ok := signal.signal.(syscall.Signal); ok {
			return exitSignalBase + int(n)
		}
		return exitSignalBase + int(syscall.SIGINT)
	case errors.As(err, &coded):
		return coded.ExitCode()
	case errors.As(err, new(misused)), errors.As(err, new(faults.List)), errors.Is(err, checkpoint.ErrNotEmpty), errors.Is(err, checkpoint.ErrLocked), errors.Is(err, trainer.ErrChanged),
		errors.Is(err, faults.ErrNotFound):
		return exitMisuse
	case errors.Is(err, context.Canceled):
		return exitSignalBase + int(syscall.SIGINT)
	}
	return exitFailed
}

// message is what the user reads of an error: one line, or a headline with several faults below it.
func message(err error) string {
	text := strings.TrimRight(err.Error(), "\n")
	var list interface{ Unwrap() []error }
	if errors.As(err, &list) {
		if n := len(list.Unwrap()); n > 1 && n == strings.Count(text, "\n")+1 {
			return fmt.Sprintf("%d faults\n  %s", n, strings.ReplaceAll(text, "\n", "\n  "))
		}
	}
	return text
}

// exists makes a path that leads nowhere an error of wrong use. what says what it is, such as "model directory".
func exists(what, path string) error {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return misusef("%s %s: no such file or directory", what, path)
	}
	if err != nil {
		return misuse(err)
	}
	return nil
}
