package data

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// A wholeFile is written under another name beside its place and takes the place when it is complete: a reader sees all
// of it or none.
type wholeFile struct{ *os.File }

// createBeside makes a new, empty file with a name of its own in dir. Its permissions are those of any new file.
func createBeside(dir string) (wholeFile, error) {
	for {
		path := filepath.Join(dir, fmt.Sprintf(".mamba-train-%016x", rand.Uint64()))
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return wholeFile{f}, err
		}
	}
}

// commit brings the file to the disk and puts it in its place.
func (f wholeFile) commit(path string) error {
	err := f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// abandon removes the file.
func (f wholeFile) abandon() {
	f.Close()
	os.Remove(f.Name())
}

// writeWhole writes a small file.
func writeWhole(path string, content []byte) error {
	f, err := createBeside(filepath.Dir(path))
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.abandon()
		return err
	}
	return f.commit(path)
}
