package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Tests replace these.
var osRename, osRemove = os.Rename, os.Remove

// Dir is a new directory under a temporary name, for files that are to appear together. It must be finished with
// Remove, preceded by [Dir.Rename] or [Dir.MoveInto] on success.
type Dir struct {
	Path    string
	release func()
}

// CreateDir makes a directory in parent with the default permissions of a new directory.
func CreateDir(parent string) (*Dir, error) {
	sweep(parent)
	for try := 1; ; try++ {
		path := temporary(filepath.Join(parent, "x"))
		if err := os.Mkdir(path, 0o777); err != nil {
			return nil, &fs.PathError{Op: "mkdir", Path: parent, Err: errors.Unwrap(err)}
		}
		release, err := own(path)
		if err == nil {
			return &Dir{path, release}, nil
		}
		if os.RemoveAll(path); try == tries {
			return nil, err
		}
	}
}

// Remove removes the directory if it still has its temporary name.
func (d *Dir) Remove() error {
	defer d.release()
	return os.RemoveAll(d.Path)
}

// Name returns err with path in place of the directory's temporary name, which would mean nothing to the user.
func (d *Dir) Name(path string, err error) error { return Name(path, d.Path, err) }

// Name returns err with path in place of a temporary name.
func Name(path, temporary string, err error) error {
	if err == nil || !strings.Contains(err.Error(), temporary) {
		return err
	}
	return &namedError{strings.ReplaceAll(err.Error(), temporary, path), err}
}

type namedError struct {
	text string
	err  error
}

func (e *namedError) Error() string { return e.text }
func (e *namedError) Unwrap() error { return e.err }

// Rename makes everything in the directory durable and renames the directory to path, which must not exist.
func (d *Dir) Rename(path string) error {
	if err := d.sync(); err != nil {
		return err
	}
	if err := os.Rename(d.Path, path); err != nil {
		return named(path, d.Path, err)
	}
	return Sync(filepath.Dir(path))
}

// MoveInto moves the files into dir, replacing files of the same name and removing those that stale, unless nil,
// reports. A reader never sees old and new files together: dir means nothing without the first of keys that is among
// the files, and that file is missing from the first change to the last, even if the process is killed in between.
func (d *Dir) MoveInto(dir string, keys []string, stale func(name string) bool) error {
	if err := d.sync(); err != nil {
		return err
	}
	files, err := entryNames(d.Path)
	if err != nil {
		return err
	}
	old, err := entryNames(dir)
	if err != nil {
		return err
	}
	for _, name := range files { // before changing anything
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return &fs.PathError{Op: "replace", Path: filepath.Join(dir, name), Err: syscall.EISDIR}
		}
	}
	first := slices.IndexFunc(keys, func(key string) bool { return slices.Contains(files, key) })
	key := ""
	if first >= 0 {
		key = keys[first]
		if err := remove(dir, key); err != nil {
			return err
		}
	}
	for _, name := range old {
		if stale != nil && stale(name) && !slices.Contains(files, name) {
			if err := osRemove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for _, name := range files {
		if name == key {
			continue
		}
		if err := osRename(filepath.Join(d.Path, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := Sync(dir); err != nil || key == "" {
		return err
	}
	if err := osRename(filepath.Join(d.Path, key), filepath.Join(dir, key)); err != nil {
		return err
	}
	return Sync(dir)
}

// remove removes a file and makes the removal durable.
func remove(dir, name string) error {
	err := osRemove(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return Sync(dir)
}

func entryNames(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// sync makes the files in the directory and its subdirectories durable.
func (d *Dir) sync() error {
	var dirs []string
	err := filepath.WalkDir(d.Path, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		return Sync(path)
	})
	for _, dir := range slices.Backward(dirs) {
		if err == nil {
			err = Sync(dir)
		}
	}
	return err
}

// MkdirAll makes a directory and its missing parents, durably.
func MkdirAll(dir string) error {
	var missing []string
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, at)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, made := range missing {
		if err := Sync(filepath.Dir(made)); err != nil {
			return err
		}
	}
	return nil
}
