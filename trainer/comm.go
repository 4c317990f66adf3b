package trainer

// Communicator connects the ranks of a data-parallel run. Every rank makes the same calls in the same order.
type Communicator interface {
	Rank() int // from 0
	Size() int
	// AllReduce replaces x with its sum over all ranks. The result has the same bits on every rank.
	AllReduce(x []float32) error
	// ReduceScatter is AllReduce for this rank's [Share] of x only. The other elements are unchanged.
	ReduceScatter(x []float32) error
	// AllGather fills x with the shares of all ranks.
	AllGather(x []float32) error
	// AllReduceSum replaces x with its sum over all ranks, in an order that may differ from run to run. An element's
	// bits are deterministic only if at most one rank's value is nonzero.
	AllReduceSum(x []float64) error
	// AllReduceMax replaces each element with its maximum over all ranks.
	AllReduceMax(x []float64) error
	// Broadcast copies root's x to all ranks.
	Broadcast(x []byte, root int) error
	// Barrier returns when all ranks have called it.
	Barrier() error
	// Abort prints the message and ends all ranks with the exit code.
	Abort(code int, message string)
	// Close leaves the communicator cleanly.
	Close() error
}

// SingleProcess is the communicator for a run with a single rank.
type SingleProcess struct{}

func (SingleProcess) Rank() int                      { return 0 }
func (SingleProcess) Size() int                      { return 1 }
func (SingleProcess) AllReduce([]float32) error      { return nil }
func (SingleProcess) ReduceScatter([]float32) error  { return nil }
func (SingleProcess) AllGather([]float32) error      { return nil }
func (SingleProcess) AllReduceSum([]float64) error   { return nil }
func (SingleProcess) AllReduceMax([]float64) error   { return nil }
func (SingleProcess) Broadcast([]byte, int) error    { return nil }
func (SingleProcess) Barrier() error                 { return nil }
func (SingleProcess) Abort(code int, message string) {}
func (SingleProcess) Close() error                   { return nil }

// shareGrain divides the length of every share but the last. It is the block size of kernel.SumSquares, so ranks can
// sum their shares separately and get the bits of the undivided sum.
const shareGrain = 1 << 16

// Share returns the range [lo, hi) of n elements that belongs to rank when size ranks divide an array.
func Share(n, rank, size int) (lo, hi int) {
	part := SharePart(n, size)
	return min(n, rank*part), min(n, (rank+1)*part)
}

// SharePart returns the length of each rank's share of n elements. The last ranks may have less, or nothing.
func SharePart(n, size int) int {
	grains := (n + shareGrain - 1) / shareGrain
	return (grains + size - 1) / size * shareGrain
}
