package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"mambatrain/internal/fault"
	"mambatrain/internal/filelock"
	"mambatrain/internal/format"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/mpi"
)

// Exit codes. They are part of the command-line interface.
const (
	ExitDone       = 0
	ExitFailed     = 1            // damaged input, full disk, loss not finite, failed peer
	exitMisuse     = 2            // flags, configuration, missing files
	exitLauncher   = 69           // the MPI library does not match the launcher
	exitTryAgain   = mpi.ExitLost // a collective timed out or a rank was lost
	exitSignalBase = 128
)

// misuseError is an error in how the program was called.
type misuseError struct{ error }

func (m misuseError) Unwrap() error { return m.error }

// Misuse marks err as an error in how the program was called. It returns nil if err is nil.
func Misuse(err error) error {
	if err == nil {
		return nil
	}
	return misuseError{err}
}

// Misusef returns an error in how the program was called.
func Misusef(format string, args ...any) error { return misuseError{fmt.Errorf(format, args...)} }

// Success is the error of a run that was told to save its state and stop, and did. Its message is printed, and the exit
// code is 0.
type Success struct{ Err error }

func (s Success) Error() string { return s.Err.Error() }
func (s Success) Unwrap() error { return s.Err }

// ExitCode returns the exit code of a command that ends with err.
func ExitCode(err error) int {
	var signal InterruptError
	switch {
	case err == nil, errors.As(err, new(Success)):
		return ExitDone
	case errors.As(err, &signal):
		if n, ok := signal.Signal.(syscall.Signal); ok {
			return exitSignalBase + int(n)
		}
		return exitSignalBase + int(syscall.SIGINT)
	case errors.As(err, new(*mpi.LostError)):
		return exitTryAgain
	case errors.As(err, new(*mpi.RefusedError)):
		return exitLauncher
	case errors.As(err, new(misuseError)), errors.As(err, new(*trainer.RanksError)), errors.As(err, new(fault.Fault)), errors.Is(err, checkpoint.ErrNotEmpty),
		errors.Is(err, filelock.ErrLocked), errors.Is(err, trainer.ErrChanged), errors.Is(err, fault.ErrNotFound):
		return exitMisuse
	case errors.Is(err, context.Canceled):
		return exitSignalBase + int(syscall.SIGINT)
	}
	return ExitFailed
}

// IsMisuse reports whether the user can fix err: a wrong command line, or a file that does not exist.
func IsMisuse(err error) bool { return ExitCode(err) == exitMisuse }

// Message formats an error for the user: one line, or a headline and an indented list of faults. Text from files is made
// safe: control characters are escaped, long lines are shortened in the middle, and only the first of many faults are
// listed.
func Message(err error) string {
	lines := strings.Split(message(err), "\n")
	if more := len(lines) - maxLines; more > 1 {
		lines = append(lines[:maxLines:maxLines], fmt.Sprintf("  and %s more", format.Count(more)))
	}
	for i, line := range lines {
		lines[i] = fault.Shorten(format.Printable(line), maxLine)
	}
	return strings.Join(lines, "\n")
}

// Limits of a message.
const (
	maxLines = 41 // a headline and 40 faults
	maxLine  = 1000
)

func message(err error) string {
	text := strings.TrimRight(fault.Plain(err), "\n")
	list := listed(err)
	if len(list) < 2 {
		return text
	}
	lines := make([]string, len(list))
	for i, e := range list {
		lines[i] = fault.Plain(e)
	}
	context, last := strings.CutSuffix(text, strings.Join(lines, "\n"))
	if !last {
		return text // more than a context was wrapped around the list
	}
	return fmt.Sprintf("%s%d faults\n  %s", context, len(lines), strings.Join(lines, "\n  "))
}

// listed returns the errors in the list that err wraps, or nil if there is none.
func listed(err error) []error {
	var settings fault.List
	var list fault.Errors
	switch {
	case errors.As(err, &list):
		return list
	case errors.As(err, &settings):
		return settings.Unwrap()
	}
	return nil
}

// Exists returns a misuse error if path does not exist. what describes the path, such as "model directory".
func Exists(what, path string) error {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Misusef("%s %s: no such file or directory", what, path)
	}
	if err != nil {
		return Misuse(err)
	}
	return nil
}
