package mpi

import (
	"slices"
	"time"

	"mambatrain/trainer"
)

// Timing is the time that a sum over all ranks takes for a given size.
type Timing struct {
	Bytes   int     `json:"bytes"`
	Seconds float64 `json:"seconds"` // of the slowest rank; median of the repetitions
}

// Measure repeatedly sums float32 arrays of the given sizes over all ranks, the way a training step sums gradients. The
// first repetition is not counted.
func Measure(c trainer.Communicator, repetitions int, bytes ...int) ([]Timing, error) {
	var list []Timing
	for _, n := range bytes {
		x := make([]float32, n/4)
		seconds := make([]float64, repetitions)
		for i := -1; i < repetitions; i++ {
			if err := c.Barrier(); err != nil {
				return nil, err
			}
			began := time.Now()
			if err := c.AllReduce(x); err != nil {
				return nil, err
			}
			if i >= 0 {
				seconds[i] = time.Since(began).Seconds()
			}
		}
		if err := c.AllReduceMax(seconds); err != nil {
			return nil, err
		}
		slices.Sort(seconds)
		list = append(list, Timing{n, seconds[len(seconds)/2]})
	}
	return list, nil
}
