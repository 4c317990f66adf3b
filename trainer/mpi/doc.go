// Package mpi joins the ranks of a data-parallel run through an installed MPI.
//
// [Open] returns the communicator of the process: [trainer.SingleProcess] unless a launcher (mpirun, srun) has started
// several processes. A run gets it in trainer.Ranks. Tests use [InProcess], whose ranks are goroutines.
//
// The library is opened at run time, without cgo, in a build with the tag mpi; a build without the tag refuses to run as
// one of several processes. Open MPI 4 and 5, MPICH and its relatives, and libraries with the ABI of MPI 5 are recognized
// by what they export.
//
// Sums are ordered: MPI only moves bytes (all-to-all, all-gather), and the additions are made here along a fixed tree
// of pairs. Their bits depend neither on the library nor on where the ranks run, and a run with 8 shards has the same
// bits on 1, 2, 4 or 8 ranks.
//
// MPI does not notice a rank that will never call. Two things end the process then, with exit code 75, which makes the
// launcher end the others: a heartbeat outside MPI, which stops when a process is stopped, dead or cut off, and a
// watchdog over collective calls that take longer than the time allowed.
package mpi
