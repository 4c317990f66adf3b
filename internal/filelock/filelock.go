// Package filelock locks a path against other processes. The system releases the lock when the process ends, however
// it ends. The lock file itself remains.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrLocked is wrapped by the error returned when another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// IsUnsupported reports whether err is the error of a file system without locks, such as some network file systems.
func IsUnsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK)
}

// Lock is a lock that is held until Close.
type Lock struct{ f *os.File }

// Close releases the lock.
func (l *Lock) Close() error { return l.f.Close() }

// Try takes the lock of path. If another process holds it, the error wraps [ErrLocked] and names the process. For
// those from a file system without locks, see [IsUnsupported].
func Try(path string) (*Lock, error) {
	for again := looks; ; {
		l, err := try(path)
		switch {
		case errors.Is(err, ErrLocked) && again > 0 && onlyLookedAt(path):
			again--
			time.Sleep(glance)
		case err != errReplaced:
			return l, err
		}
	}
}

// [Held] shares the lock for a few microseconds, or longer on a busy machine. That must not make Try fail in a process
// that starts just then.
const (
	looks  = 2000
	glance = 5 * time.Millisecond
)

// onlyLookedAt reports whether nobody holds an exclusive lock on path, so that any lock on it is a shared one taken by
// Held.
func onlyLookedAt(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	held, err := Held(f)
	return err == nil && !held
}

// errReplaced is returned for a file that its holder removed before it could be locked here. Another process may have
// created and locked a new one since.
var errReplaced = errors.New("removed by its holder")

func try(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := lockNamed(f, path); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		if errors.Is(err, ErrLocked) && len(holder) > 0 {
			return nil, fmt.Errorf("%w (process %s)", ErrLocked, strings.TrimSpace(string(holder)))
		}
		return nil, err
	}
	// The process ID is used only in the message above.
	f.Truncate(0)
	f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return &Lock{f}, nil
}

// Hold takes the lock of an existing file or directory, as [Try] does, but does not write to it.
func Hold(path string) (*Lock, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = lockNamed(f, path)
	if err == errReplaced {
		err = os.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

// lockNamed locks f, which was opened as path and must still be the file at path.
func lockNamed(f *os.File, path string) error {
	if err := lock(f); err != nil {
		return err
	}
	held, err := f.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(held, there) {
		return errReplaced
	}
	return nil
}

// poll is how often Wait retries.
const poll = 100 * time.Millisecond

// Wait creates the directory of path if necessary and takes the lock of path as soon as no other process holds it. On
// a file system without locks it does not wait, since nobody can hold one.
func Wait(ctx context.Context, path string) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	for errors.Is(lock(f), ErrLocked) {
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
	return &Lock{f}, nil
}

// Held reports whether a process holds the lock of an open file. It does not prevent anyone from taking the lock,
// because [Try] retries.
func Held(f *os.File) (bool, error) {
	err := share(f)
	if errors.Is(err, ErrLocked) {
		return true, nil
	}
	return false, err
}
