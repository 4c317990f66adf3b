package main

// benchAllReduce measures sums over ranks.
func (a *app) benchAllReduce() error {
	return misusef("--mode allreduce needs the mpi build and several ranks: mpirun -n 2 mamba-train bench --mode allreduce")
}
