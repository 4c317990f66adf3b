package atomicfile

import (
	"errors"
	"testing"
)

// Own owns a file as another process would.
func Own(t *testing.T, path string) func() {
	t.Helper()
	release, err := own(path)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

// FailAfter lets n changes to a directory succeed.
func FailAfter(n int) (restore func()) {
	rename, unlink := osRename, osRemove
	left := n
	next := func() error {
		if left--; left < 0 {
			return errors.New("disk failed")
		}
		return nil
	}
	osRename = func(from, to string) error {
		if err := next(); err != nil {
			return err
		}
		return rename(from, to)
	}
	osRemove = func(path string) error {
		if err := next(); err != nil {
			return err
		}
		return unlink(path)
	}
	return func() { osRename, osRemove = rename, unlink }
}
