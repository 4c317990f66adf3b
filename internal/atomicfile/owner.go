package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"mambatrain/internal/filelock"
)

// A process holds a lock on each of its temporary files and directories. One without a lock was left behind by a
// process that was killed, and the next process that writes to the same directory removes it.

// errTaken is returned by own for a file that another process mistook for a leftover just after it was created.
var errTaken = errors.New("taken by another process")

// own locks a temporary file or directory until release is called. It does nothing if the system has no such locks.
func own(path string) (release func(), err error) {
	if runtime.GOOS == "windows" { // an open file cannot be renamed there
		return func() {}, nil
	}
	lock, err := filelock.Hold(path)
	switch {
	case errors.Is(err, filelock.ErrLocked), errors.Is(err, os.ErrNotExist):
		return nil, errTaken
	case err != nil: // no locks on this file system, so sweep finds none either
		return func() {}, nil
	}
	return func() { lock.Close() }, nil
}

// swept contains the directories that this process has already swept.
var swept sync.Map

// sweep removes the temporary files and directories in dir that no process owns, the first time it is called for dir.
func sweep(dir string) {
	if _, done := swept.LoadOrStore(filepath.Clean(dir), true); done || runtime.GOOS == "windows" {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !IsTemporary(e.Name()) || !e.Type().IsRegular() && !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if lock, err := filelock.Hold(path); err == nil {
			os.RemoveAll(path)
			lock.Close()
		}
	}
}

// tries is how many times a name is chosen again after errTaken.
const tries = 10
