package filelock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mambatrain/internal/filelock"
)

// flock belongs to the open file, so two locks in one process exclude each other just as those of two processes do.
func TestLock_excludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := filelock.Try(path); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := filelock.Wait(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a held lock: %v", err)
	}
	first.Close()
	second, err := filelock.Wait(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestWait_createsDirectory(t *testing.T) {
	l, err := filelock.Wait(context.Background(), filepath.Join(t.TempDir(), "a", "b", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestTry_removedFile: locking a file that its holder has removed does not lock the file that replaces it.
func TestTry_removedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	opened, err := os.Create(path) // as a process about to lock it does
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if err := os.Remove(path); err != nil {
		t.Skip(err) // an open file cannot be removed on this system
	}
	if err := filelock.LockNamed(opened, path); err == nil {
		t.Error("a removed file can be locked")
	}
	l, err := filelock.Try(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := filelock.LockNamed(opened, path); err == nil {
		t.Error("a replaced file can be locked")
	}
}
