package recipe

import (
	"runtime"

	"mambatrain/autograd/kernel"
	"mambatrain/trainer"
	"mambatrain/trainer/mpi"
)

// Join makes this process one of the ranks that an MPI launcher has started, or leaves it alone, and sets the number of
// kernel threads unless threads does. d may be nil. print is called with what MPI has to report.
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

// SpareCore reports whether this rank has one core more than the kernels use, for the thread that makes MPI calls.
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
