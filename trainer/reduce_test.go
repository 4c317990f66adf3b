package trainer

import (
	"sync"
	"testing"
	"time"

	ag "mambatrain/autograd"
)

// counter is one of two ranks, and counts the elements that it is asked to sum.
type counter struct {
	SingleProcess
	mu  sync.Mutex
	sum int
}

func (c *counter) Size() int { return 2 }

func (c *counter) AllReduce(x []float32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum += len(x)
	return nil
}

func (c *counter) waitFor(sum int) bool {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		enough := c.sum >= sum
		c.mu.Unlock()
		if enough {
			return true
		}
	}
	return false
}

// While the lower layers are still computed, the matrices of the upper ones are summed: they do not wait for the small
// parameters of all layers, which share a bucket.
func TestSumsAreMadeBesideTheBackwardPass(t *testing.T) {
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
	comm := &counter{}
	r := newReducer(newLayout(params, DefaultBucketBytes), params, comm, 1)
	r.overlap = true
	r.begin()
	ready := r.overlapped()
	half := len(params) / 2
	for i := len(params) - 1; i >= half; i-- {
		ready(params[i])
	}
	if want := layers / 2 * 3 * shareGrain; !comm.waitFor(want) {
		t.Errorf("after half of the layers %d elements have been summed, want %d", comm.sum, want)
	}
	for i := half - 1; i >= 0; i-- {
		ready(params[i])
	}
	if err := r.finish(); err != nil {
		t.Fatal(err)
	}
	if comm.sum != total {
		t.Errorf("%d elements have been summed, want %d", comm.sum, total)
	}
}
