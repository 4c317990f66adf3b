package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A command that is interrupted while writing leaves nothing behind.
func TestStageInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	err := Stage(ctx, filepath.Join(dir, "out"), Refuse, func(tmp string) error {
		cancel()
		return os.WriteFile(filepath.Join(tmp, "x"), nil, 0o666)
	})
	left, _ := os.ReadDir(dir)
	if !errors.Is(err, context.Canceled) || len(left) > 0 {
		t.Errorf("error %v, left %v", err, left)
	}
}

// TestStage_errorNamesOutput: an error names the user's path, not a temporary file.
func TestStage_errorNamesOutput(t *testing.T) {
	for name, dir := range map[string]string{"new": filepath.Join(t.TempDir(), "out"), "existing": t.TempDir()} {
		err := Stage(context.Background(), dir, Refuse, func(tmp string) error {
			return os.WriteFile(filepath.Join(tmp, "no", "file"), nil, 0o666)
		})
		if want := filepath.Join(dir, "no", "file"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), " "+want+":") {
			t.Errorf("%s: %v, want one that names %s", name, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "file")
	err := StageFile(context.Background(), path, func(string) error { return nil })
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "tmp"+string(filepath.Separator)+"file") {
		t.Errorf("%v, want one that names %s", err, path)
	}
}

// TestStage_insideExisting: an existing directory may be a mount point, and files cannot be renamed into it from outside.
func TestStage_insideExisting(t *testing.T) {
	dir := t.TempDir()
	err := Stage(context.Background(), dir, Refuse, func(tmp string) error {
		if filepath.Dir(tmp) != dir {
			t.Errorf("%s is filled, outside %s", tmp, dir)
		}
		return os.WriteFile(filepath.Join(tmp, "config.json"), nil, 0o666)
	})
	if left, _ := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "config.json" {
		t.Errorf("%v, %v", left, err)
	}
}
