package mpi

import (
	"slices"
	"time"

	"mambatrain/trainer"
)

// Timing is how long the sum over all ranks of so many bytes takes.
type Timing struct {
	Bytes   int     `json:"bytes"`
	Seconds float64 `json:"seconds"` // the slowest rank's, the median of the repetitions
}

// Measure sums float32 arrays of the given sizes over all ranks, repeatedly, the way a training step sums gradients. The
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
