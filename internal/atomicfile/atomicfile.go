// Package atomicfile writes files atomically: the bytes go to a temporary file in the same directory, which is synced
// and renamed over the target, and the rename is made durable by syncing the directory. A reader, or a restart after a
// crash, sees either the old contents or the new ones.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// FS is the part of a file system needed to replace a file. Tests pass one that fails or loses power at any operation.
type FS interface {
	// Create makes a new file for writing. Its contents survive a crash only after Sync.
	Create(path string) (io.WriteCloser, error)
	// Rename moves a file or a directory. It survives a crash only after Sync of the directory that contains it.
	Rename(from, to string) error
	RemoveAll(path string) error
	// Sync makes a file's contents, or the names in a directory, survive a crash.
	Sync(path string) error
}

// Disk is the real file system.
type Disk struct{}

func (Disk) Create(path string) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}
func (Disk) Rename(from, to string) error { return os.Rename(from, to) }
func (Disk) RemoveAll(path string) error  { return os.RemoveAll(path) }
func (Disk) Sync(path string) error       { return Sync(path) }

func (Disk) own(path string) (release func(), err error) { return own(path) }

// The prefix and suffix of temporary file names, which have 16 hexadecimal digits in between.
const (
	prefix = ".mamba-train-"
	suffix = ".tmp"
)

// temporary returns an unused name in the directory of path.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf("%s%016x%s", prefix, rand.Uint64(), suffix))
}

// IsTemporary reports whether name is that of a temporary file. Only a crash leaves such a file behind.
func IsTemporary(name string) bool {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, suffix), prefix)
	_, err := strconv.ParseUint(digits, 16, 64)
	return ok && err == nil && len(prefix)+16+len(suffix) == len(name)
}

// replace creates or replaces the file at path with what fill writes. After an error, the old file is untouched and no
// other file is left behind. Errors name path, not the temporary file.
func replace(fsys FS, path string, fill func(w io.Writer) error) error {
	tmp, f, release, err := createOwned(fsys, path)
	if err != nil {
		return named(path, tmp, err)
	}
	defer release()
	err = writeAll(f, fill)
	if err == nil {
		err = fsys.Sync(tmp)
	}
	if err == nil {
		err = fsys.Rename(tmp, path)
	}
	if err != nil {
		fsys.RemoveAll(tmp)
		return named(path, tmp, err)
	}
	return fsys.Sync(filepath.Dir(path))
}

// createOwned makes a temporary file for path. On disk, this process owns the file until it calls release.
func createOwned(fsys FS, path string) (tmp string, f io.WriteCloser, release func(), err error) {
	disk, isDisk := fsys.(interface {
		own(path string) (func(), error)
	})
	if isDisk {
		sweep(filepath.Dir(path))
	}
	for try := 1; ; try++ {
		tmp, release = temporary(path), func() {}
		if f, err = fsys.Create(tmp); err != nil || !isDisk {
			return tmp, f, release, err
		}
		if release, err = disk.own(tmp); err == nil {
			return tmp, f, release, nil
		}
		f.Close()
		if fsys.RemoveAll(tmp); try == tries {
			return tmp, nil, nil, err
		}
	}
}

// writeAll fills and closes a file.
func writeAll(f io.WriteCloser, fill func(w io.Writer) error) error {
	w := bufio.NewWriterSize(f, 1<<20)
	err := fill(w)
	if err == nil {
		err = w.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// ReplaceFile creates or replaces a file on any file system with the given contents, as [WriteFile] does on disk.
func ReplaceFile(fsys FS, path string, content []byte) error {
	return replace(fsys, path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// Write creates or replaces the file at path on disk with what fill writes. After an error, the old file is untouched
// and no other file is left behind. Errors name path, not the temporary file. A symbolic link is replaced, not
// followed; a device or a pipe is written to.
func Write(path string, fill func(w io.Writer) error) error {
	if isSpecial(path) {
		return writeInto(path, fill)
	}
	return replace(Disk{}, path, fill)
}

// WriteFile is like [Write], for contents already in memory.
func WriteFile(path string, content []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// File is a new file under a temporary name, for contents that are written over time or read back before they are
// complete. It must be finished with Commit or Abort.
type File struct {
	*os.File
	release func()
}

// Create makes a file in dir with the default permissions of a new file.
func Create(dir string) (*File, error) {
	sweep(dir)
	for try := 1; ; try++ {
		f, err := os.OpenFile(temporary(filepath.Join(dir, "x")), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return nil, err
		}
		release, err := own(f.Name())
		if err == nil {
			return &File{f, release}, nil
		}
		f.Close()
		if os.Remove(f.Name()); try == tries {
			return nil, err
		}
	}
}

// Commit makes the file durable and moves it to path. After an error the file is gone.
func (f *File) Commit(path string) error {
	defer f.release()
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return named(path, f.Name(), err)
	}
	return Sync(filepath.Dir(path))
}

// Abort removes the file.
func (f *File) Abort() {
	defer f.release()
	f.Close()
	os.Remove(f.Name())
}

// Sync makes a file's contents, or the names in a directory, survive a crash. It does nothing if the system cannot
// sync a directory, a directory may not be read, or the file system does not support syncing.
func Sync(path string) error {
	mode := os.O_RDONLY
	if runtime.GOOS == "windows" {
		mode = os.O_RDWR // FlushFileBuffers requires it, and a directory cannot be opened that way
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		if info, e := os.Stat(path); e == nil && info.IsDir() && (mode == os.O_RDWR || errors.Is(err, fs.ErrPermission)) {
			return nil
		}
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// named returns err with path in place of the temporary file's name, which would mean nothing to the user.
func named(path, tmp string, err error) error {
	var op *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &op) && op.Path == tmp:
		return &fs.PathError{Op: op.Op, Path: path, Err: op.Err}
	case errors.As(err, &link) && link.Old == tmp:
		return &fs.PathError{Op: link.Op, Path: path, Err: link.Err}
	}
	return err
}
