package mpi

// library is the part of MPI that this package uses. One thread makes all calls. Send and receive buffers never
// overlap: Open MPI 4.1 crashes on MPI_IN_PLACE in its hierarchical collectives (open-mpi/ompi#11473). Slices are not
// empty.
type library interface {
	version() string
	rank() (int, error)
	size() (int, error)
	// The sum and max methods combine elements in an order chosen by the library.
	sumFloat32s(recv, send []float32) error
	sumFloat64s(recv, send []float64) error
	maxFloat64s(recv, send []float64) error
	// allToAll divides send into one part per rank and stores the parts from all ranks in recv, by rank.
	allToAll(recv, send []float32) error
	// allGather stores what all ranks send in recv, by rank.
	allGather(recv, send []float32) error
	broadcast(x []byte, root int) error
	barrier() error
	abort(code int)
	finalize() error
}
