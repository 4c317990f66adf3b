//go:build !mpi || !linux || !(amd64 || arm64)

package mpi

import (
	"strings"
	"testing"
)

func TestBuildWithoutMPIRefusesSeveralRanks(t *testing.T) {
	if c, err := openAlone(launch{size: 1}); err != nil || c.Size() != 1 {
		t.Errorf("alone: got %v, %v", c, err)
	}
	if _, err := openAlone(launch{name: "mpirun", rank: 1, size: 2}); err == nil || !strings.Contains(err.Error(), "-tags mpi") {
		t.Errorf("one of two: got %v, want a refusal that names the other build", err)
	}
}
