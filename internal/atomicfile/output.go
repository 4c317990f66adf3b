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

// WriteOutput writes a file named by the user. A symbolic link is followed: its target is replaced, and the link
// remains. A device or a pipe is written to and remains what it is. Everything else is as in [Write], and the
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

// Overwrites reports whether writing to output would replace one of the inputs, whatever names or links lead to it.
// Inputs that do not exist, such as "", are ignored.
func Overwrites(output string, inputs ...string) bool {
	there, err := os.Stat(output)
	if err != nil || !there.IsDir() && !there.Mode().IsRegular() {
		return false // does not exist, or is a device
	}
	return slices.ContainsFunc(inputs, func(input string) bool {
		info, err := os.Stat(input)
		return err == nil && os.SameFile(info, there)
	})
}

// Target returns the file to replace for an output that the user has named as path: path itself, or its target if it
// is a symbolic link. It reports whether path is special, that is, a device or a pipe, which is written to instead.
func Target(path string) (target string, special bool, err error) {
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if strings.HasPrefix(path, dir) || path == "/dev/stdout" || path == "/dev/stderr" {
			return path, true, nil // whatever is open there
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

// follow resolves a path that may be a symbolic link to a file that does not exist yet.
func follow(path string) (string, error) {
	const tries = 40
	for range tries {
		next, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link, or does not exist
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return "", &fs.PathError{Op: "write", Path: path, Err: syscall.ELOOP}
}

// writeInto writes to a device or a pipe. Standard output and standard error may be regular files, which are appended
// to.
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

// unclosed is a file that is left open.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// isSpecial reports whether path itself is a device, a pipe, or a socket.
func isSpecial(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeCharDevice|fs.ModeIrregular) != 0
}
