// Package filelock locks a path against other processes. The system releases the lock when the process ends, however it
// ends; the lock file itself stays behind.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrLocked is wrapped by the error of a lock that another process holds.
var ErrLocked = errors.New("locked by another process")

// Lock is a lock that is held until Close.
type Lock struct{ f *os.File }

// Close releases the lock.
func (l *Lock) Close() error { return l.f.Close() }

// Try takes the lock of path. If another process holds it, the error wraps [ErrLocked] and names the process. Errors of a
// file system without locks are returned as they are.
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

// [Held] shares the lock for a few microseconds, more on a busy machine, which must not refuse it to a process that begins
// just then.
const (
	looks  = 2000
	glance = 5 * time.Millisecond
)

// onlyLookedAt reports whether nobody has the lock of path for himself, so that whoever has it is only looking.
func onlyLookedAt(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	held, err := Held(f)
	return err == nil && !held
}

// errReplaced is returned for a file that its holder has removed before it could be locked here: somebody else may have
// made and locked a new one since.
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
	// The process number only serves the message above.
	f.Truncate(0)
	f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return &Lock{f}, nil
}

// Hold takes the lock of a file or directory that exists, as [Try] does, and does not write to it.
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

// lockNamed locks f, which has been opened as path and must still be what path names.
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

// poll is how often Wait tries again.
const poll = 100 * time.Millisecond

// Wait takes the lock of path as soon as no other process holds it, and makes the directory of path first. On a file
// system without locks it does not wait: nobody can hold one.
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

// Held reports whether a process holds the lock of an open file. It does not keep anybody from taking the lock: [Try] tries
// again.
func Held(f *os.File) (bool, error) {
	err := share(f)
	if errors.Is(err, ErrLocked) {
		return true, nil
	}
	return false, err
}
