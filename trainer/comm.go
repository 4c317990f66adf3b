package trainer

// Communicator joins the ranks of a data-parallel run. Every rank makes the same calls in the same order.
type Communicator interface {
	Rank() int // from 0
	Size() int
	// AllReduce replaces x by its sum over all ranks.
	AllReduce(x []float32) error
	// AllReduceSum does the same in double precision, for losses and counts.
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

// Alone is the communicator of a run without other ranks.
type Alone struct{}

func (Alone) Rank() int                      { return 0 }
func (Alone) Size() int                      { return 1 }
func (Alone) AllReduce([]float32) error      { return nil }
func (Alone) AllReduceSum([]float64) error   { return nil }
func (Alone) AllReduceMax([]float64) error   { return nil }
func (Alone) Broadcast([]byte, int) error    { return nil }
func (Alone) Barrier() error                 { return nil }
func (Alone) Abort(code int, message string) {}
func (Alone) Close() error                   { return nil }
