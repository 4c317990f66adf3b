//go:build unix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock uses flock, which belongs to the open file and ends with the process; fcntl's locks would end with the first close
// of the file anywhere in the process.
func lock(f *os.File) error { return flock(f, unix.LOCK_EX) }

// share takes a lock that others may share, and gives it back.
func share(f *os.File) error {
	if err := flock(f, unix.LOCK_SH); err != nil {
		return err
	}
	return unix.Flock(int(f.Fd()), unix.LOCK_UN)
}

func flock(f *os.File, how int) error {
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
