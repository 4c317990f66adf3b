package filelock_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"mambatrain/internal/filelock"
)

// flock belongs to the open file, so two locks in one process exclude each other as two processes do.
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

func TestWait_makesTheDirectory(t *testing.T) {
	l, err := filelock.Wait(context.Background(), filepath.Join(t.TempDir(), "a", "b", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
