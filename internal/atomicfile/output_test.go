package atomicfile_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/atomicfile"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// TestWriteOutput_link: a link's target is replaced or created, and the link remains.
func TestWriteOutput_link(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join("sub", "a.txt"), link); err != nil {
		t.Skip(err)
	}
	for _, s := range []string{"first", "second"} {
		if err := atomicfile.WriteOutput(link, text(s)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || content(t, filepath.Join(sub, "a.txt")) != s {
			t.Errorf("%s: %v, %v", s, info.Mode(), err)
		}
	}
	if err := atomicfile.WriteFile(link, []byte("third")); err != nil || content(t, filepath.Join(sub, "a.txt")) != "second" {
		t.Errorf("Write follows a link: %v", err)
	}
	loop := filepath.Join(dir, "loop")
	os.Symlink("loop", loop)
	if err := atomicfile.WriteOutput(loop, text("x")); err == nil {
		t.Error("a link to itself is not an error")
	}
	if err := atomicfile.WriteOutput(sub, text("x")); err == nil || !strings.Contains(err.Error(), sub) {
		t.Errorf("a directory: %v", err)
	}
}

// TestSweep: the next process that writes to a directory removes what a killed process left there, but not what
// another is writing.
func TestSweep(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nothing is removed there")
	}
	dir := t.TempDir()
	const old, oldDir, others, link = ".mamba-train-0123456789abcdef.tmp", ".mamba-train-0123456789abcdee.tmp", ".mamba-train-notes.tmp", ".mamba-train-0123456789abcded.tmp"
	write(t, filepath.Join(dir, old), "half")
	write(t, filepath.Join(dir, others), "mine")
	os.Mkdir(filepath.Join(dir, oldDir), 0o777)
	write(t, filepath.Join(dir, oldDir, "config.json"), "half")
	os.Symlink(others, filepath.Join(dir, link))
	owned := filepath.Join(dir, ".mamba-train-00000000000000aa.tmp")
	write(t, owned, "half")
	defer atomicfile.Own(t, owned)()
	if err := atomicfile.WriteFile(filepath.Join(dir, "a.txt"), nil); err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Base(owned), link, others, "a.txt"}
	slices.Sort(want)
	if got := names(t, dir); got != strings.Join(want, " ") {
		t.Errorf("left: %s, want %v", got, want)
	}
}

func stageFiles(t *testing.T, dir string, files map[string]string) *atomicfile.Dir {
	t.Helper()
	d, err := atomicfile.CreateDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range files {
		write(t, filepath.Join(d.Path, name), s)
	}
	return d
}

func TestDir(t *testing.T) {
	parent := t.TempDir()
	d := stageFiles(t, parent, map[string]string{"a": "1"})
	dir := filepath.Join(parent, "out")
	if err := d.Rename(dir); err != nil {
		t.Fatal(err)
	}
	d.Remove()
	if names(t, parent) != "out" || content(t, filepath.Join(dir, "a")) != "1" {
		t.Errorf("%s, %s", names(t, parent), names(t, dir))
	}
	stageFiles(t, parent, nil).Remove()
	if names(t, parent) != "out" {
		t.Error(names(t, parent))
	}
}

// TestMoveInto_neverBoth: at every moment the directory has the old files, the new files, or no key file.
func TestMoveInto_neverBoth(t *testing.T) {
	shards := func(s string) map[string]string {
		m := map[string]string{"config.json": s}
		for i := range 4 {
			m[fmt.Sprint("model-", i)] = s
		}
		return m
	}
	for stop := range 12 { // the disk fails after this many changes, as if the process had been killed
		dir := t.TempDir()
		for name, s := range shards("old") {
			write(t, filepath.Join(dir, name), s)
		}
		write(t, filepath.Join(dir, "model-9"), "old")
		write(t, filepath.Join(dir, "notes"), "mine")
		d := stageFiles(t, dir, shards("new"))
		restore := atomicfile.FailAfter(stop)
		err := d.MoveInto(dir, []string{"config.json"}, func(name string) bool { return strings.HasPrefix(name, "model-") })
		restore()
		d.Remove()
		seen := map[string]bool{}
		for _, name := range strings.Fields(names(t, dir)) {
			if strings.HasPrefix(name, "model-") || name == "config.json" {
				seen[content(t, filepath.Join(dir, name))] = true
			}
		}
		_, noKey := os.Stat(filepath.Join(dir, "config.json"))
		if len(seen) > 1 && noKey == nil || content(t, filepath.Join(dir, "notes")) != "mine" {
			t.Errorf("after %d changes: %s", stop, names(t, dir))
		}
		if err == nil && (noKey != nil || seen["old"] || strings.Contains(names(t, dir), "model-9")) {
			t.Errorf("at the end: %s", names(t, dir))
		}
		if (err == nil) != (stop > 6) {
			t.Errorf("after %d changes: error %v", stop, err)
		}
	}
}

func TestMkdirAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := atomicfile.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Error(err)
	}
}
