package kernel

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRunEveryTaskOnce(t *testing.T) {
	defer SetThreads(0)
	for _, threads := range []int{1, 2, 3, 7, 16} {
		SetThreads(threads)
		for _, tasks := range []int{0, 1, 2, 3, 17, 1000} {
			count := make([]atomic.Int32, tasks)
			runTasks(tasks, func(i int) {
				if tasks < 20 {
					time.Sleep(50 * time.Microsecond) // so that a runTasks that does not wait for the last task fails
				}
				count[i].Add(1)
			})
			for i := range count {
				if n := count[i].Load(); n != 1 {
					t.Fatalf("%d threads: task %d of %d ran %d times", threads, i, tasks, n)
				}
			}
		}
	}
}

// Regions started from several goroutines, from inside tasks, and while the number of threads changes, all finish.
func TestRunNestedAndConcurrent(t *testing.T) {
	defer SetThreads(0)
	SetThreads(3)
	var total atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 50 {
				SetThreads(1 + (g+i)%4)
				runTasks(5, func(int) {
					runTasks(3, func(int) { total.Add(1) })
				})
			}
		}()
	}
	wg.Wait()
	if n := total.Load(); n != 4*50*5*3 {
		t.Fatalf("%d tasks ran, want %d", n, 4*50*5*3)
	}
}

// After a pause longer than the spin time the workers are parked, and the next region still wakes them.
func TestWorkersPark(t *testing.T) {
	defer SetThreads(0)
	SetThreads(2)
	runTasks(2, func(int) {})
	for !(*pool.workers.Load())[0].parked.Load() {
		time.Sleep(time.Millisecond)
	}
	var n atomic.Int32
	runTasks(8, func(int) { n.Add(1) })
	if n.Load() != 8 {
		t.Fatalf("%d of 8 tasks ran", n.Load())
	}
}

func BenchmarkRegion(b *testing.B) {
	for b.Loop() {
		runTasks(Threads(), func(int) {})
	}
}

func TestParallelCountsSplitWork(t *testing.T) {
	const nap = 3 * time.Millisecond
	before := Parallel()
	time.Sleep(nap)
	runTasks(1, func(int) { time.Sleep(nap) }) // one task is not split
	if d := Parallel() - before; d != 0 {
		t.Fatalf("%v of serial work were counted", d)
	}
	runTasks(2, func(int) { time.Sleep(nap) })
	if d := Parallel() - before; d < nap {
		t.Fatalf("%v of split work were counted, want at least %v", d, nap)
	}
}

// A panic in a task reaches the caller after all other tasks have run, on any number of threads, and the pool remains
// usable.
func TestRunPanics(t *testing.T) {
	defer SetThreads(0)
	for _, threads := range []int{1, 2, 5} {
		SetThreads(threads)
		var ran atomic.Int64
		got := func() (p any) {
			defer func() { p = recover() }()
			runTasks(20, func(i int) {
				if i == 19 {
					panic("of a task")
				}
				ran.Add(1)
			})
			return nil
		}()
		if got != "of a task" || ran.Load() != 19 {
			t.Errorf("%d threads: the caller got %v and %d tasks ran", threads, got, ran.Load())
		}
		runTasks(3, func(int) { ran.Add(1) })
		if n := ran.Load(); n != 22 {
			t.Errorf("%d threads: %d tasks ran in total, want 22", threads, n)
		}
	}
}
