package mpi

import (
	"fmt"
	"os"
	"strconv"
)

// launch contains what the environment reveals about the launcher that started this process.
type launch struct {
	name       string // "" without a launcher
	rank, size int
	local      int // ranks on this host; 0 if unknown
	family     family
}

// family is the family of MPI libraries that a launcher works with.
type family int

const (
	anyFamily family = iota
	openMPI
	mpich
)

// launchers lists the variables in which launchers pass a process its rank. For Slurm they are those of the job step:
// SLURM_NTASKS is also set in a batch script, which is a single process.
var launchers = []struct {
	name, rank, size, local string
	family                  family
}{
	{"Open MPI's mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", openMPI},
	{"MPICH's mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", mpich},
	{"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "", anyFamily},
}

// detect identifies the launcher from env, which is os.LookupEnv except in tests.
func detect(env func(string) (string, bool)) launch {
	number := func(name string) (int, bool) {
		text, _ := env(name)
		n, err := strconv.Atoi(text)
		return n, err == nil && n >= 0
	}
	for _, l := range launchers {
		rank, ok1 := number(l.rank)
		size, ok2 := number(l.size)
		if !ok1 || !ok2 {
			continue
		}
		found := launch{name: l.name, rank: rank, size: size, family: l.family}
		found.local, _ = number(l.local)
		if _, pmix := env("PMIX_RANK"); pmix && found.family == anyFamily {
			found.family = openMPI
		}
		return found
	}
	return launch{size: 1}
}

// RefusedError is returned by a process that must not run as one of several: its build lacks MPI, or the library cannot
// be found or belongs to a different launcher.
type RefusedError struct{ reason string }

func (e *RefusedError) Error() string { return "mpi: " + e.reason }

func refusef(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// hostName returns the name of this host for messages.
func hostName() string {
	h, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return h
}
