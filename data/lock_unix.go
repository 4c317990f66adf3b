//go:build unix

package data

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// heldElsewhere takes the lock, and says whether another process has it. On a file system without locks nobody has.
func heldElsewhere(f *os.File) bool {
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
