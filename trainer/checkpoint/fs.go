package checkpoint

import (
	"io"
	"io/fs"
	"os"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/filelock"
)

// FS is the part of a file system that a run uses. Tests pass one that fails or loses power at any operation. Weight
// files are written directly to disk by the function that fills a checkpoint, and are synced afterward.
type FS interface {
	atomicfile.FS
	MkdirAll(dir string) error
	// Append opens a file for appending.
	Append(path string) (io.WriteCloser, error)
	Open(path string) (io.ReadCloser, error)
	// ReadDir returns the entries of a directory in alphabetical order.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Lock locks path until Close, or fails with an error that wraps filelock.ErrLocked.
	Lock(path string) (io.Closer, error)
}

// Disk is the real file system.
type Disk struct{ atomicfile.Disk }

func (Disk) MkdirAll(dir string) error                 { return os.MkdirAll(dir, 0o777) }
func (Disk) Open(path string) (io.ReadCloser, error)   { return os.Open(path) }
func (Disk) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (Disk) Lock(path string) (io.Closer, error)       { return filelock.Try(path) }

func (Disk) Append(path string) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
}

func readFile(f FS, path string) ([]byte, error) {
	r, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
