package trainer

import (
	"testing"

	ag "mambatrain/autograd"
)

// counter is one of two ranks. It sends the numbers of elements that it is asked to sum.
type counter struct {
	SingleProcess
	sums chan int
}

func (c *counter) Size() int { return 2 }

func (c *counter) AllReduce(x []float32) error {
	c.sums <- len(x)
	return nil
}

// While lower layers are still being computed, the matrices of upper layers are summed. They do not wait for the small
// parameters of all layers, which share a bucket.
func TestReductionsOverlapBackwardPass(t *testing.T) {
	const layers = 12
	var params []*ag.Param
	total := 0
	for range layers {
		for _, n := range []int{768, shareGrain, 24_576, 2 * shareGrain} {
			p := ag.Zeros("p", n)
			if err := p.Train(); err != nil {
				t.Fatal(err)
			}
			params = append(params, p)
			total += n
		}
	}
	comm := &counter{sums: make(chan int, len(params))}
	r := newReducer(newLayout(params, DefaultBucketBytes), params, comm, 1)
	r.overlap = true
	r.begin()
	ready := r.overlapped()
	half := len(params) / 2
	for i := len(params) - 1; i >= half; i-- {
		ready(params[i])
	}
	summed := 0
	for want := layers / 2 * 3 * shareGrain; summed < want; {
		summed += <-comm.sums // blocks forever if the sums wait for the other layers
	}
	for i := half - 1; i >= 0; i-- {
		ready(params[i])
	}
	if err := r.finish(); err != nil {
		t.Fatal(err)
	}
	close(comm.sums)
	for n := range comm.sums {
		summed += n
	}
	if summed != total {
		t.Errorf("%d elements have been summed, want %d", summed, total)
	}
}
