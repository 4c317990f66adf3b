package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A command that was asked to stop while it wrote leaves nothing.
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
