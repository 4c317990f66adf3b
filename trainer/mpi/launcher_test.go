package mpi

import (
	"errors"
	"strings"
	"testing"
)

func environment(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, p := range pairs {
			if k, v, _ := strings.Cut(p, "="); k == name {
				return v, true
			}
		}
		return "", false
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want launch
	}{
		{nil, launch{size: 1}},
		{[]string{"OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_SIZE=2"}, launch{"Open MPI's mpirun", 2, 4, 2, openMPI}},
		{[]string{"PMI_RANK=0", "PMI_SIZE=3"}, launch{"MPICH's mpiexec", 0, 3, 0, mpich}},
		{[]string{"SLURM_PROCID=1", "SLURM_STEP_NUM_TASKS=2"}, launch{"srun", 1, 2, 0, anyFamily}},
		{[]string{"SLURM_PROCID=1", "SLURM_STEP_NUM_TASKS=2", "PMIX_RANK=1"}, launch{"srun", 1, 2, 0, openMPI}},
		// A batch script is one process of a job with four tasks.
		{[]string{"SLURM_PROCID=0", "SLURM_NTASKS=4"}, launch{size: 1}},
		// mpirun within a job step: the inner launcher takes precedence.
		{[]string{"SLURM_PROCID=0", "SLURM_STEP_NUM_TASKS=1", "OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=2"}, launch{"Open MPI's mpirun", 1, 2, 0, openMPI}},
		{[]string{"PMI_RANK=x", "PMI_SIZE=3"}, launch{size: 1}},
	} {
		if got := detect(environment(c.env...)); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.env, got, c.want)
		}
	}
}

// singleLibrary is a library that does not belong to the launcher: it sees only one process.
type singleLibrary struct{ library }

func (singleLibrary) version() string    { return "other MPI" }
func (singleLibrary) rank() (int, error) { return 0, nil }
func (singleLibrary) size() (int, error) { return 1, nil }
func (singleLibrary) finalize() error    { return nil }

func TestForeignLibraryIsRefused(t *testing.T) {
	_, err := start(func() (library, error) { return singleLibrary{}, nil }, launch{name: "mpirun", rank: 1, size: 4}, Default())
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "rank 1 of 4") {
		t.Errorf("got %v, want a refusal that names both sides", err)
	}
}
