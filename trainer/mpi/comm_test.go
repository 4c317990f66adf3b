package mpi

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mambatrain/trainer"
)

// together runs f on every rank and returns the errors by rank.
func together(comms []*Comm, f func(c *Comm) error) []error {
	errs := make([]error, len(comms))
	var wg sync.WaitGroup
	for i, c := range comms {
		wg.Go(func() { errs[i] = f(c) })
	}
	wg.Wait()
	return errs
}

func mustTogether(t *testing.T, comms []*Comm, f func(c *Comm) error) {
	t.Helper()
	for i, err := range together(comms, f) {
		if err != nil {
			t.Fatalf("rank %d: %v", i, err)
		}
	}
}

// gradients are n numbers of very different sizes, so that the order of a sum shows in its bits.
func gradients(rank, n int) []float32 {
	r := rand.New(rand.NewPCG(uint64(rank), 7))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * math.Exp(6*r.NormFloat64()))
	}
	return x
}

// treeOf is the slow form of the ordered sum.
func treeOf(parts [][]float32) []float32 {
	if len(parts) == 1 {
		return slices.Clone(parts[0])
	}
	half := 1
	for half*2 < len(parts) {
		half *= 2
	}
	a, b := treeOf(parts[:half]), treeOf(parts[half:])
	for i := range a {
		a[i] += b[i]
	}
	return a
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

func TestOrderedSumIsTheTree(t *testing.T) {
	for ranks := 1; ranks <= 9; ranks++ {
		comms := InProcess(ranks, Options{BucketBytes: 4 * 60_000})
		sizes := []int{0, 1, ranks, 63, 64, 65, 200}
		if ranks <= 4 {
			sizes = append(sizes, 3<<16, 200_001) // several shares and buckets
		}
		for _, n := range sizes {
			var parts [][]float32
			for r := range ranks {
				parts = append(parts, gradients(r, n))
			}
			want := treeOf(parts)
			mustTogether(t, comms, func(c *Comm) error {
				all, own := gradients(c.Rank(), n), gradients(c.Rank(), n)
				if err := c.AllReduce(all); err != nil {
					return err
				}
				if !sameBits(all, want) {
					t.Errorf("%d ranks, %d elements: the all-reduce of rank %d differs from the tree", ranks, n, c.Rank())
				}
				if err := c.ReduceScatter(own); err != nil {
					return err
				}
				lo, hi := trainer.Share(n, c.Rank(), ranks)
				if !sameBits(own[lo:hi], want[lo:hi]) {
					t.Errorf("%d ranks, %d elements: the share of rank %d differs from the tree", ranks, n, c.Rank())
				}
				if err := c.AllGather(own); err != nil {
					return err
				}
				if !sameBits(own, want) {
					t.Errorf("%d ranks, %d elements: what rank %d gathers differs from the tree", ranks, n, c.Rank())
				}
				return nil
			})
		}
	}
}

// Eight shards have one sum, whether a rank has added up one of them, two, four or all.
func TestShardsOnFewerRanksHaveTheSameBits(t *testing.T) {
	const shards, n = 8, 300
	var parts [][]float32
	for s := range shards {
		parts = append(parts, gradients(s, n))
	}
	want := treeOf(parts)
	for _, ranks := range []int{2, 4, 8} {
		mustTogether(t, InProcess(ranks, Options{}), func(c *Comm) error {
			own := shards / ranks
			x := treeOf(parts[c.Rank()*own : (c.Rank()+1)*own])
			if err := c.AllReduce(x); err != nil {
				return err
			}
			if !sameBits(x, want) {
				t.Errorf("%d ranks: the sum of %d shards has other bits", ranks, shards)
			}
			return nil
		})
	}
}

func TestCollectives(t *testing.T) {
	const ranks = 3
	mustTogether(t, InProcess(ranks, Options{Native: true, BucketBytes: 16}), func(c *Comm) error {
		x := []float32{1, 2, 3, 4, 5, float32(c.Rank())}
		sum, largest := []float64{float64(c.Rank()), 1}, []float64{float64(c.Rank()), -float64(c.Rank())}
		text := []byte("rank 0")
		if c.Rank() == 2 {
			text = []byte("rank 2")
		}
		err := errors.Join(c.AllReduce(x), c.AllReduceSum(sum), c.AllReduceMax(largest), c.Broadcast(text, 2), c.Barrier(),
			c.AllReduceSum(nil), c.AllReduceMax(nil), c.Broadcast(nil, 0))
		if !slices.Equal(x, []float32{3, 6, 9, 12, 15, 3}) || !slices.Equal(sum, []float64{3, 3}) ||
			!slices.Equal(largest, []float64{2, 0}) || string(text) != "rank 2" {
			t.Errorf("rank %d: got %v, %v, %v, %q", c.Rank(), x, sum, largest, text)
		}
		return errors.Join(err, c.Close(), c.Close())
	})
}

func TestCallsAfterCloseFail(t *testing.T) {
	mustTogether(t, InProcess(2, Options{}), func(c *Comm) error {
		if err := c.Close(); err != nil {
			return err
		}
		var lost *ErrLost
		if err := c.Barrier(); !errors.As(err, &lost) || lost.ExitCode() != 75 {
			t.Errorf("barrier after Close: got %v", err)
		}
		return nil
	})
}

func TestCallsThatDoNotMatchFail(t *testing.T) {
	errs := together(InProcess(2, Options{}), func(c *Comm) error {
		if c.Rank() == 0 {
			return c.Barrier()
		}
		return c.AllReduceSum([]float64{1})
	})
	for i, err := range errs {
		if err == nil {
			t.Errorf("rank %d: a barrier met a sum without an error", i)
		}
	}
}

func TestMeasure(t *testing.T) {
	mustTogether(t, InProcess(2, Options{}), func(c *Comm) error {
		list, err := Measure(c, 3, 4, 4096)
		if len(list) != 2 || list[0].Bytes != 4 || list[1].Bytes != 4096 || list[0].Seconds <= 0 || list[1].Seconds <= 0 {
			t.Errorf("got %v", list)
		}
		return err
	})
}

// farewell records how a rank ends.
type farewell struct {
	mu    sync.Mutex
	lines []string
	ended chan int
}

func newFarewell() *farewell { return &farewell{ended: make(chan int, 8)} }

func (f *farewell) options(timeout time.Duration) Options {
	return Options{Timeout: timeout, Exit: func(code int) { f.ended <- code }, Print: func(line string) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lines = append(f.lines, line)
	}}
}

func (f *farewell) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, "\n")
}

func TestWatchdogEndsARankWhoseCallHangs(t *testing.T) {
	f := newFarewell()
	comms := InProcess(2, f.options(300*time.Millisecond))
	go comms[0].AllReduce(make([]float32, 10)) // rank 1 never comes
	select {
	case code := <-f.ended:
		if code != 75 || !strings.Contains(f.text(), "all-reduce has not finished in 300ms") || !strings.Contains(f.text(), "rank 0/2") {
			t.Errorf("got exit code %d and %q", code, f.text())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the watchdog did not bark")
	}
}

func TestWatchdogLetsManyShortCallsPass(t *testing.T) {
	f := newFarewell()
	began := time.Now()
	mustTogether(t, InProcess(2, f.options(300*time.Millisecond)), func(c *Comm) error {
		// The number of calls must not depend on a rank's own clock.
		for range 10 {
			time.Sleep(70 * time.Millisecond)
			if err := c.Barrier(); err != nil {
				return err
			}
		}
		return nil
	})
	if len(f.ended) > 0 {
		t.Errorf("ended after %v: %s", time.Since(began), f.text())
	}
}

func TestHurryShortensReductionsOnly(t *testing.T) {
	var w watchdog
	reduction, wait := &job{name: "all-reduce"}, &job{name: "barrier", waits: true}
	if got := w.limit(reduction, time.Minute); got != time.Minute {
		t.Errorf("before: got %v", got)
	}
	w.hurry()
	if got := w.limit(reduction, time.Minute); got != hurryLimit {
		t.Errorf("in a hurry: got %v, want %v", got, hurryLimit)
	}
	if got := w.limit(wait, time.Minute); got != time.Minute {
		t.Errorf("waiting for rank 0's files: got %v, want a minute", got)
	}
	w.longest.Store(int64(20 * time.Second))
	if got := w.limit(reduction, time.Minute); got != 40*time.Second {
		t.Errorf("with slow ranks: got %v, want 40s", got)
	}
	if got := w.limit(reduction, time.Second); got != time.Second {
		t.Errorf("with a short timeout: got %v, want 1s", got)
	}
}

func TestAbortEndsTheOthersCalls(t *testing.T) {
	f := newFarewell()
	comms := InProcess(3, f.options(time.Minute))
	errs := together(comms, func(c *Comm) error {
		if c.Rank() == 1 {
			c.Abort(3, "the disk is gone")
			return nil
		}
		return c.Barrier()
	})
	if code := <-f.ended; code != 3 || !strings.Contains(f.text(), "the disk is gone") {
		t.Errorf("got exit code %d and %q", code, f.text())
	}
	if errs[0] == nil || errs[2] == nil {
		t.Errorf("the others' calls: got %v", errs)
	}
}
