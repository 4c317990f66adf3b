//go:build mpi && linux && (amd64 || arm64)

package mpi

import "testing"

func TestCountCores(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3\n": 4, "0-1,8,10-12": 6, "": 0, "a-b": 0, "3-1": 0} {
		if got := countCores(list); got != want {
			t.Errorf("%q: got %d, want %d", list, got, want)
		}
	}
}
