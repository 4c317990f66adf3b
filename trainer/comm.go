package trainer

// Communicator joins the ranks of a data-parallel run. Every rank makes the same calls in the same order.
type Communicator interface {
	Rank() int // from 0
	Size() int
	// AllReduce replaces x by its sum over all ranks. Every rank has the same bits.
	AllReduce(x []float32) error
	// ReduceScatter does so for this rank's [Share] of x only. The rest is as before.
	ReduceScatter(x []float32) error
	// AllGather fills x from the shares of all ranks.
	AllGather(x []float32) error
	// AllReduceSum replaces x by its sum over all ranks, in an order that may differ from run to run: its bits are certain
	// only where at most one rank's element is not zero.
	AllReduceSum(x []float64) error
	// AllReduceMax replaces each element by its largest over all ranks.
	AllReduceMax(x []float64) error
	// Broadcast copies root's x to all ranks.
	Broadcast(x []byte, root int) error
	// Barrier returns when all ranks have called it.
	Barrier() error
	// Abort ends all ranks with the exit code, after printing the message.
	Abort(code int, message string)
	// Close leaves the run in good order.
	Close() error
}

// SingleProcess is the communicator of a run without other ranks.
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

// shareGrain is the number of elements of which a share is a multiple: that of the pieces which kernel.SumSquares sums
// apart, so that ranks can sum their shares and have the bits of the whole.
const shareGrain = 1 << 16

// Share returns the part [lo, hi) of n elements that belongs to a rank where ranks divide an array between them.
func Share(n, rank, size int) (lo, hi int) {
	part := SharePart(n, size)
	return min(n, rank*part), min(n, (rank+1)*part)
}

// SharePart is the length of every rank's share of n elements, except that the last ranks may have less or nothing.
func SharePart(n, size int) int {
	grains := (n + shareGrain - 1) / shareGrain
	return (grains + size - 1) / size * shareGrain
}
