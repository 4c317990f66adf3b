//go:build unix

package inputfile_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mambatrain/internal/inputfile"
)

// TestRead_pipe: a pipe without a writer must not block.
func TestRead_pipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Skip(err)
	}
	if _, err := inputfile.Read(path, 1); err == nil || !strings.Contains(err.Error(), "is a pipe, want a file") {
		t.Error(err)
	}
}
