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

// onEach runs f on every rank and returns the errors by rank.
func onEach(comms []*Comm, f func(c *Comm) error) []error {
	errs := make([]error, len(comms))
	var wg sync.WaitGroup
	for i, c := range comms {
		wg.Go(func() { errs[i] = f(c) })
	}
	wg.Wait()
	return errs
}

func mustOnEach(t *testing.T, comms []*Comm, f func(c *Comm) error) {
	t.Helper()
	for i, err := range onEach(comms, f) {
		if err != nil {
			t.Fatalf("rank %d: %v", i, err)
		}
	}
}

// inBuckets returns the default settings with the given bucket size.
func inBuckets(bytes int) Config {
	c := Default()
	c.BucketBytes = bytes
	return c
}

// gradients returns n numbers of very different magnitudes, so that the order of a sum affects its bits.
func gradients(rank, n int) []float32 {
	r := rand.New(rand.NewPCG(uint64(rank), 7))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * math.Exp(6*r.NormFloat64()))
	}
	return x
}

// treeOf is the reference implementation of the ordered sum.
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
		comms := InProcess(ranks, inBuckets(4*60_000))
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
			mustOnEach(t, comms, func(c *Comm) error {
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
					t.Errorf("%d ranks, %d elements: the result gathered by rank %d differs from the tree", ranks, n, c.Rank())
				}
				return nil
			})
		}
	}
}

// Eight shards have the same sum whether each rank sums one of them, two, four, or all.
func TestShardsOnFewerRanksHaveTheSameBits(t *testing.T) {
	const shards, n = 8, 300
	var parts [][]float32
	for s := range shards {
		parts = append(parts, gradients(s, n))
	}
	want := treeOf(parts)
	for _, ranks := range []int{2, 4, 8} {
		mustOnEach(t, InProcess(ranks, Default()), func(c *Comm) error {
			own := shards / ranks
			x := treeOf(parts[c.Rank()*own : (c.Rank()+1)*own])
			if err := c.AllReduce(x); err != nil {
				return err
			}
			if !sameBits(x, want) {
				t.Errorf("%d ranks: the sum of %d shards has different bits", ranks, shards)
			}
			return nil
		})
	}
}

func TestCollectives(t *testing.T) {
	const ranks = 3
	native := inBuckets(16)
	native.Native = true
	mustOnEach(t, InProcess(ranks, native), func(c *Comm) error {
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
	mustOnEach(t, InProcess(2, Default()), func(c *Comm) error {
		if err := c.Close(); err != nil {
			return err
		}
		var lost *LostError
		if err := c.Barrier(); !errors.As(err, &lost) {
			t.Errorf("barrier after Close: got %v", err)
		}
		return nil
	})
}

func TestMismatchedCallsFail(t *testing.T) {
	errs := onEach(InProcess(2, Default()), func(c *Comm) error {
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
	mustOnEach(t, InProcess(2, Default()), func(c *Comm) error {
		list, err := Measure(c, 3, 4, 4096)
		if len(list) != 2 || list[0].Bytes != 4 || list[1].Bytes != 4096 || list[0].Seconds <= 0 || list[1].Seconds <= 0 {
			t.Errorf("got %v", list)
		}
		return err
	})
}

// exitRecorder records how ranks exit.
type exitRecorder struct {
	mu    sync.Mutex
	lines []string
	ended chan int
}

func newExitRecorder() *exitRecorder { return &exitRecorder{ended: make(chan int, 8)} }

// config returns settings under which the test controls the clock.
func (r *exitRecorder) config() Config {
	c := Default()
	c.clock, c.connectTimeout = newManualTicker, hangTimeout
	c.Exit = func(code int) { r.ended <- code }
	c.Print = func(line string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lines = append(r.lines, line)
	}
	return c
}

func (r *exitRecorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

func TestWatchdogEndsRankWithHungCall(t *testing.T) {
	r := newExitRecorder()
	c := r.config()
	c.Timeout = 3 * watchTick
	comms := InProcess(2, c)
	go comms[0].AllReduce(make([]float32, 10)) // rank 1 never calls
	waitFor(t, "the call is in progress", func() bool { return comms[0].watch.current.Load() != nil })
	ticks := 0
	for tick(comms[0].watch.ticker) {
		ticks++
	}
	if code := <-r.ended; code != 75 || !strings.Contains(r.text(), "all-reduce did not finish within 300ms") || !strings.Contains(r.text(), "rank 0/2") {
		t.Errorf("got exit code %d and %q", code, r.text())
	}
	if ticks != 5 { // one to notice the call, three that are allowed
		t.Errorf("ended after %d ticks, want 5", ticks)
	}
}

func TestWatchdogAllowsManyShortCalls(t *testing.T) {
	r := newExitRecorder()
	c := r.config()
	c.Timeout = 3 * watchTick
	comms := InProcess(2, c)
	for range 10 {
		done := make(chan error, 2)
		go func() { done <- comms[0].Barrier() }()
		waitFor(t, "the call is in progress", func() bool { return comms[0].watch.current.Load() != nil })
		tick(comms[0].watch.ticker)
		tick(comms[0].watch.ticker)
		go func() { done <- comms[1].Barrier() }()
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(r.ended) > 0 {
		t.Errorf("ended: %s", r.text())
	}
}

func TestShortenTimeouts_ofReductionsOnly(t *testing.T) {
	var w watchdog
	reduction, wait := &request{name: "all-reduce"}, &request{name: "barrier", waits: true}
	if got := w.limit(reduction, time.Minute); got != time.Minute {
		t.Errorf("before: got %v", got)
	}
	w.shorten()
	if got := w.limit(reduction, time.Minute); got != shortTimeout {
		t.Errorf("shortened: got %v, want %v", got, shortTimeout)
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

func TestAbortFailsCallsOfOtherRanks(t *testing.T) {
	r := newExitRecorder()
	comms := InProcess(3, r.config())
	errs := onEach(comms, func(c *Comm) error {
		if c.Rank() == 1 {
			c.Abort(3, "the disk is gone")
			return nil
		}
		return c.Barrier()
	})
	if code := <-r.ended; code != 3 || !strings.Contains(r.text(), "the disk is gone") {
		t.Errorf("got exit code %d and %q", code, r.text())
	}
	if errs[0] == nil || errs[2] == nil {
		t.Errorf("the others' calls: got %v", errs)
	}
}
