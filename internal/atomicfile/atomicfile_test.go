package atomicfile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/internal/atomicfile"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWrite_oldOrNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	if err := atomicfile.WriteFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := atomicfile.Write(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	if !errors.Is(err, broken) || content(t, path) != "old" || names(t, dir) != "a.txt" {
		t.Errorf("%v, %q, %s", err, content(t, path), names(t, dir))
	}
	if err := atomicfile.WriteFile(path, []byte("new")); err != nil || content(t, path) != "new" {
		t.Error(err, content(t, path))
	}
}

// failing is a disk whose operation number at fails, counting from 0.
type failing struct {
	atomicfile.Disk
	at, n int
}

var errDisk = errors.New("disk failed")

func (f *failing) next() error {
	f.n++
	if f.n-1 == f.at {
		return errDisk
	}
	return nil
}

func (f *failing) Create(path string) (io.WriteCloser, error) {
	if err := f.next(); err != nil {
		return nil, err
	}
	return f.Disk.Create(path)
}

func (f *failing) Rename(from, to string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.Disk.Rename(from, to)
}

func (f *failing) Sync(path string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.Disk.Sync(path)
}

func TestReplace_failsAnywhere(t *testing.T) {
	for at := range 4 {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.txt")
		if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
			t.Fatal(err)
		}
		err := atomicfile.ReplaceFile(&failing{at: at}, path, []byte("new"))
		if !errors.Is(err, errDisk) {
			t.Errorf("operation %d: %v", at, err)
		}
		if got := content(t, path); got != "old" && !(at == 3 && got == "new") || names(t, dir) != "a.txt" {
			t.Errorf("operation %d: %q, %s", at, got, names(t, dir))
		}
	}
}

// A file in a directory that may be written but not read can be replaced.
func TestWrite_unreadableDirectory(t *testing.T) {
	if os.Getuid() <= 0 {
		t.Skip("needs a user who may not read every directory")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	if err := os.Chmod(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700) // to remove it
	if err := atomicfile.WriteFile(path, []byte("new")); err != nil || content(t, path) != "new" {
		t.Errorf("%v, %q", err, content(t, path))
	}
	d, err := atomicfile.CreateDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Remove()
	if err := d.Rename(filepath.Join(dir, "b")); err != nil {
		t.Error(err)
	}
}

func TestWrite_errorNamesTheTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "a.txt")
	err := atomicfile.WriteFile(path, nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	f, err := atomicfile.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("whole")
	if err := f.Commit(filepath.Join(dir, "a.txt")); err != nil {
		t.Fatal(err)
	}
	g, err := atomicfile.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	g.Abort()
	if names(t, dir) != "a.txt" || content(t, filepath.Join(dir, "a.txt")) != "whole" {
		t.Error(names(t, dir))
	}
	h, err := atomicfile.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Commit(filepath.Join(dir, "missing", "a.txt")); err == nil || names(t, dir) != "a.txt" {
		t.Error(err, names(t, dir))
	}
}

func TestIsTemporary(t *testing.T) {
	f, err := atomicfile.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if name := filepath.Base(f.Name()); !atomicfile.IsTemporary(name) {
		t.Errorf("%s is not recognized", name)
	}
	for _, name := range []string{"", ".mamba-train-", ".mamba-train-notes.tmp", ".mamba-train-0123456789abcdef", "0123456789abcdef.tmp", ".mamba-train-0123456789abcdef0.tmp"} {
		if atomicfile.IsTemporary(name) {
			t.Errorf("%q is mistaken for a temporary file", name)
		}
	}
}
