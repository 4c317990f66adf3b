package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"mambatrain/internal/fault"
)

// WriteOutput writes a file that a user has named. A symbolic link is followed: the file that it leads to is replaced, and
// the link stays. A device or a pipe is written to and stays what it is. Everything else is as with [Write], and the
// directory is made if it does not exist.
func WriteOutput(path string, fill func(w io.Writer) error) error {
	target, special, err := Target(path)
	if err != nil {
		return err
	}
	if special {
		return writeInto(path, fill)
	}
	if err := MkdirAll(filepath.Dir(target)); err != nil {
		return err
	}
	return Write(target, fill)
}

// Overwrites reports whether writing to output would replace one of the inputs, whatever names or links lead to it. Inputs
// that do not exist, such as "", are passed over.
func Overwrites(output string, inputs ...string) bool {
	there, err := os.Stat(output)
	if err != nil || !there.IsDir() && !there.Mode().IsRegular() {
		return false // nothing yet, or a device
	}
	return slices.ContainsFunc(inputs, func(input string) bool {
		info, err := os.Stat(input)
		return err == nil && os.SameFile(info, there)
	})
}

// Target returns the file to be replaced by an output that a user has named as path: path itself, or where the symbolic
// link leads that it is. It reports whether path is special, a device or a pipe, which is written to instead.
func Target(path string) (target string, special bool, err error) {
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if strings.HasPrefix(path, dir) || path == "/dev/stdout" || path == "/dev/stderr" {
			return path, true, nil // whatever has been opened there
		}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		target, err := follow(path)
		return target, false, err
	case err != nil:
		return "", false, err
	case info.IsDir():
		return "", false, fault.Fault{Path: path, Problem: "is a directory, want the name of a file"}
	case !info.Mode().IsRegular():
		return path, true, nil
	}
	target, err = filepath.EvalSymlinks(path)
	return target, false, err
}

// follow returns where a path leads that may be a symbolic link to a file that does not exist yet.
func follow(path string) (string, error) {
	const most = 40
	for range most {
		next, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link, or nothing
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return "", &fs.PathError{Op: "write", Path: path, Err: syscall.ELOOP}
}

// writeInto writes to a device or a pipe. Standard output and standard error may be regular files, which are continued.
func writeInto(path string, fill func(w io.Writer) error) error {
	switch path {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return writeAll(unclosed{os.Stdout}, fill)
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return writeAll(unclosed{os.Stderr}, fill)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return writeAll(f, fill)
}

// unclosed is a file that stays open.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// isSpecial reports whether path itself is a device, a pipe or a socket.
func isSpecial(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeCharDevice|fs.ModeIrregular) != 0
}
