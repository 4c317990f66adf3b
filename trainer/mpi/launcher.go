package mpi

import (
	"fmt"
	"os"
	"strconv"
)

// launched is what the environment says about the launcher that started this process.
type launched struct {
	name       string // "" without a launcher
	rank, size int
	local      int // ranks on this host, 0 if unknown
	kin        kin
}

// kin is the family of MPI libraries that a launcher serves.
type kin int

const (
	anyKin kin = iota
	openMPI
	mpich
)

// launchers lists the variables by which launchers tell a process its place. Slurm's are those of the job step:
// SLURM_NTASKS is also set in a batch script, which is one process.
var launchers = []struct {
	name, rank, size, local string
	kin                     kin
}{
	{"Open MPI's mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", openMPI},
	{"MPICH's mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", mpich},
	{"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "", anyKin},
}

// detect finds the launcher through env, which is os.LookupEnv outside tests.
func detect(env func(string) (string, bool)) launched {
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
		found := launched{name: l.name, rank: rank, size: size, kin: l.kin}
		found.local, _ = number(l.local)
		if _, pmix := env("PMIX_RANK"); pmix && found.kin == anyKin {
			found.kin = openMPI
		}
		return found
	}
	return launched{size: 1}
}

// ErrRefused is the error of a process that must not run as one of several: its build has no MPI, or the library
// cannot be found or belongs to another launcher.
type ErrRefused struct{ reason string }

func (e *ErrRefused) Error() string { return "mpi: " + e.reason }

// ExitCode is the process's exit code, EX_UNAVAILABLE of sysexits.h.
func (e *ErrRefused) ExitCode() int { return 69 }

func refusef(format string, args ...any) error { return &ErrRefused{fmt.Sprintf(format, args...)} }

// hostName is what messages call this host.
func hostName() string {
	h, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return h
}
