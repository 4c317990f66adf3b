package mpi

// library is the part of MPI that is used. One thread makes all calls. What is sent is never the memory that is received
// into: Open MPI 4.1 crashes on MPI_IN_PLACE in its hierarchical collectives (open-mpi/ompi#11473). Slices are not empty.
type library interface {
	version() string
	rank() (int, error)
	size() (int, error)
	// sum and max combine element by element, in an order of the library's choice.
	sumFloat32s(recv, send []float32) error
	sumFloat64s(recv, send []float64) error
	maxFloat64s(recv, send []float64) error
	// allToAll cuts send into one part for each rank, and puts the parts from all ranks into recv by rank.
	allToAll(recv, send []float32) error
	// allGather puts what all ranks send into recv, by rank.
	allGather(recv, send []float32) error
	broadcast(x []byte, root int) error
	barrier() error
	abort(code int)
	finalize() error
}
