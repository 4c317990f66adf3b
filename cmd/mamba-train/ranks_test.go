//go:build !mpi || !linux || !(amd64 || arm64)

package main

import (
	"testing"
)

func TestBuildWithoutMPIRefusesALauncher(t *testing.T) {
	t.Setenv("OMPI_COMM_WORLD_RANK", "1")
	t.Setenv("OMPI_COMM_WORLD_SIZE", "2")
	config := writeFile(t, "run.yaml", "model: none\noutput_dir: none\ndata: {train: none}\n")
	if code := run([]string{"train", "-c", config}); code != 69 {
		t.Errorf("exit code %d, want 69", code)
	}
}
