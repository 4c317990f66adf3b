package recipe

import (
	"runtime"

	"mambatrain/autograd/kernel"
	"mambatrain/trainer"
	"mambatrain/trainer/mpi"
)

// Join connects this process to the other ranks if an MPI launcher started several, and sets the number of kernel
// threads unless threads is set. d may be nil. print is called with messages from package mpi.
func Join(d *DistributedConfig, threads int, print func(line string)) (trainer.Communicator, error) {
	if d == nil {
		d = DefaultDistributed()
	}
	c := mpi.Default()
	c.Library, c.Timeout, c.Native, c.BucketBytes, c.Print = d.Library, d.Timeout, d.Reduce == "native", d.BucketMB<<20, print
	comm, err := mpi.Open(c)
	if err != nil {
		return nil, err
	}
	if c, ok := comm.(*mpi.Comm); ok && threads == 0 {
		kernel.SetThreads(c.Cores())
	}
	return comm, nil
}

// SpareCore reports whether this rank has a core that the kernels do not use, for the thread that makes MPI calls.
func SpareCore(comm trainer.Communicator) bool {
	c, ok := comm.(*mpi.Comm)
	if !ok {
		return false
	}
	own := c.Cores()
	if own == 0 {
		own = runtime.GOMAXPROCS(0)
	}
	return kernel.Threads() < own
}
