package data

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// heldElsewhere takes the lock, and says whether another process has it. On a file system without locks nobody has.
func heldElsewhere(f *os.File) bool {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	return errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING)
}
