// Package mpi connects the ranks of a data-parallel run through an installed MPI library.
//
// [Open] returns the communicator of the process: [trainer.SingleProcess] unless a launcher (mpirun, srun) started
// several processes. It is passed to a run in trainer.Ranks. Tests use [InProcess], whose ranks are goroutines.
//
// The library is loaded at run time, without cgo, in builds with the tag mpi. A build without the tag refuses to run as
// one of several processes. Open MPI 4 and 5, MPICH and its derivatives, and libraries with the MPI 5 ABI are
// recognized by the symbols they export.
//
// Sums are ordered: MPI only moves bytes (all-to-all, all-gather), and this package does the additions along a fixed
// tree of pairs. The bits of a sum do not depend on the library or on where the ranks run, and a run with 8 shards has
// the same bits on 1, 2, 4, or 8 ranks.
//
// MPI does not detect a rank that will never make its next call. Two mechanisms handle this by ending the process with
// exit code 75, which makes the launcher end the others: a heartbeat outside MPI, which is lost when a process is
// stopped, dead, or cut off, and a watchdog for collective calls that exceed the timeout.
package mpi
