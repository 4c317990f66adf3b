package checkpoint

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/filelock"
)

// Files that a killed run left half-written do not get in the way, but a user's file with a similar name is kept.
func TestOnlyOwnLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	leftover, notes := filepath.Join(dir, temporary+checkpointName(3)), filepath.Join(dir, temporary+"notes")
	if err := os.Mkdir(leftover, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := atomicfile.Create(dir); err != nil {
		t.Fatal(err)
	}
	out, err := Open(Disk{}, dir, Fresh)
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
	if entries, _ := os.ReadDir(dir); len(entries) != 1 || entries[0].Name() != LockFile {
		t.Errorf("the directory has %v", entries)
	}
	os.WriteFile(notes, nil, 0o666)
	if err := CheckFresh(Disk{}, dir); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("got %v, want ErrNotEmpty", err)
	}
	if out, err = Open(Disk{}, dir, Overwrite); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if _, err := os.Stat(notes); err != nil {
		t.Errorf("a file of the user is gone: %v", err)
	}
}

func TestTwoRunsInOneDirectory(t *testing.T) {
	dir := t.TempDir()
	out, err := Open(Disk{}, dir, Fresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Disk{}, dir, Resume); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	out.Close()
	out, err = Open(Disk{}, dir, Resume)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	out.Close()
}

// unlockableDisk is a disk whose file system has no locks.
type unlockableDisk struct{ Disk }

func (unlockableDisk) Lock(string) (io.Closer, error) { return nil, syscall.ENOSYS }

// TestOpen_noLocks checks that a run can use a file system without locks.
func TestOpen_noLocks(t *testing.T) {
	out, err := Open(unlockableDisk{}, t.TempDir(), Fresh)
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(out.Unlocked(), syscall.ENOSYS) {
		t.Errorf("Unlocked returns %v", out.Unlocked())
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
}

// TestCheckFresh_newFileSystem checks that a volume mounted as the output directory counts as empty.
func TestCheckFresh_newFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CheckFresh(Disk{}, dir); err != nil {
		t.Error(err)
	}
}

// TestAbandon checks that a run that never began removes its lock while it holds it, and not a lock that another run
// has taken since.
func TestAbandon(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(Disk{}, dir, Fresh)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Abandon(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("the directory has %v", entries)
	}
	second, err := Open(Disk{}, dir, Fresh)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := Open(Disk{}, dir, Resume); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

// TestPublish_leavesOtherFiles checks that a result replaces an earlier one but no files that a run did not write.
func TestPublish_leavesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors.bak"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for i, files := range [][]string{{"adapter_config.json", "old.txt"}, {"adapter_config.json", "new.txt"}} {
		out, err := Open(Disk{}, dir, Overwrite)
		if err != nil {
			t.Fatal(err)
		}
		err = out.Publish(&State{GlobalStep: i + 1}, func(tmp string) error {
			for _, name := range files {
				if err := os.WriteFile(filepath.Join(tmp, name), nil, 0o666); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		out.Close()
	}
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got, want := strings.Join(left, " "), ".lock adapter_config.json config.json model.safetensors.bak new.txt trainer_state.json"; got != want {
		t.Errorf("the directory has %s, want %s", got, want)
	}
}

// TestErrorsNameTheOutput checks that errors name the final path, not a temporary directory.
func TestErrorsNameTheOutput(t *testing.T) {
	out, err := Open(Disk{}, t.TempDir(), Fresh)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	fill := func(tmp string) error { return os.WriteFile(filepath.Join(tmp, "no", "file"), nil, 0o666) }
	_, write := out.Write(&State{GlobalStep: 3}, fill)
	for dir, err := range map[string]error{out.Path(3): write, out.Dir: out.Publish(&State{}, fill)} {
		if want := filepath.Join(dir, "no", "file"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), " "+want+":") {
			t.Errorf("%v, want an error that names %s", err, want)
		}
	}
}
