//go:build unix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock uses flock, whose lock belongs to the open file and ends with the process. A lock taken with fcntl would end as
// soon as the process closed any descriptor of the file.
func lock(f *os.File) error { return flock(f, unix.LOCK_EX) }

// share takes a shared lock and releases it.
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
