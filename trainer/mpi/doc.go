// Package mpi joins the ranks of a data-parallel run through an MPI that is installed already.
//
// [Open] gives the communicator of the process: [trainer.SingleProcess] unless a launcher (mpirun, srun) has started several.
// The library is opened at run time, without cgo, in a build with the tag mpi; a build without it refuses to run as one
// of several processes. Open MPI 4 and 5, MPICH and its relatives, and libraries with the ABI of MPI 5 are told apart by
// what they export.
//
// Sums are ordered: MPI only moves bytes (all-to-all, all-gather), and the additions are made here along a fixed tree
// of pairs. Their bits depend neither on the library nor on where the ranks run, and a run with 8 shards has the same
// ones on 1, 2, 4 or 8 ranks.
//
// MPI has no notion of a rank that will never come. Two things end the process then, with exit code 75, which makes the
// launcher end the others: a heartbeat beside MPI, that a stopped, dead or cut-off process does not keep up, and a
// watchdog over collective calls that take longer than the time allowed.
package mpi
