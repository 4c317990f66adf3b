//go:build !mpi || !linux || !(amd64 || arm64)

package mpi

import (
	"os"

	"mambatrain/trainer"
)

// Open returns the communicator of a single process and refuses to run as one of several: without MPI each process
// would train by itself, and all would write to the same place.
func Open(Config) (trainer.Communicator, error) { return openAlone(detect(os.LookupEnv)) }

func openAlone(l launch) (trainer.Communicator, error) {
	if l.size > 1 {
		return nil, refusef("%s started this process as rank %d of %d, but this mamba-train was built without MPI: use a build with -tags mpi (Linux on amd64 or arm64), or start it without a launcher", l.name, l.rank, l.size)
	}
	return trainer.SingleProcess{}, nil
}
