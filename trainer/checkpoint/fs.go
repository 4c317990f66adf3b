package checkpoint

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// FS is the file system as a run uses it, so that tests can make any operation fail or pull the plug after it. Weight
// files are written by the caller's Save straight to the disk and then pass through Sync.
type FS interface {
	MkdirAll(dir string) error
	// Write creates or replaces a file. Its contents survive a crash only after Sync.
	Write(path string, data []byte) error
	// Append opens a file for writing at its end.
	Append(path string) (io.WriteCloser, error)
	Open(path string) (io.ReadCloser, error)
	// ReadDir lists a directory in alphabetical order.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Rename moves a file or a directory. It survives a crash only after Sync of the directory that holds it.
	Rename(from, to string) error
	RemoveAll(path string) error
	// Sync makes a file's contents, or the names in a directory, survive a crash.
	Sync(path string) error
	// Lock takes the lock of that path, or fails at once if another process holds it. It ends with Close or the process.
	Lock(path string) (io.Closer, error)
}

// Disk is the real file system.
type Disk struct{}

func (Disk) MkdirAll(dir string) error                 { return os.MkdirAll(dir, 0o777) }
func (Disk) Write(path string, data []byte) error      { return os.WriteFile(path, data, 0o666) }
func (Disk) Open(path string) (io.ReadCloser, error)   { return os.Open(path) }
func (Disk) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (Disk) Rename(from, to string) error              { return os.Rename(from, to) }
func (Disk) RemoveAll(path string) error               { return os.RemoveAll(path) }
func (Disk) Lock(path string) (io.Closer, error)       { return lockFile(path) }

func (Disk) Append(path string) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
}

// Sync of a directory does nothing where the system has no such thing.
func (Disk) Sync(path string) error {
	mode := os.O_RDONLY
	if runtime.GOOS == "windows" {
		mode = os.O_RDWR // FlushFileBuffers wants it; directories cannot be opened so
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		if info, serr := os.Stat(path); serr == nil && info.IsDir() && mode == os.O_RDWR {
			return nil
		}
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a file system that cannot
	}
	return errors.Join(err, f.Close())
}

// WriteAtomic replaces the file at path: a reader, and a restart after a crash, see the old contents or the new.
func WriteAtomic(f FS, path string, data []byte) error {
	tmp := filepath.Join(filepath.Dir(path), temporary+filepath.Base(path))
	err := f.Write(tmp, data)
	if err == nil {
		err = f.Sync(tmp)
	}
	if err == nil {
		err = f.Rename(tmp, path)
	}
	if err != nil {
		f.RemoveAll(tmp)
		return err
	}
	return f.Sync(filepath.Dir(path))
}

func readFile(f FS, path string) ([]byte, error) {
	r, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
