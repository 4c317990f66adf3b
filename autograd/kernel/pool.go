package kernel

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// spinTime is how long an idle worker spins before it parks. Waking a parked goroutine takes tens of microseconds, as
// long as a small kernel. With the spin, a kernel that follows another finds the workers awake, and an idle process
// still uses no CPU time.
const spinTime = 100 * time.Microsecond

// spinTurns is how many times, for about a millisecond, the caller checks whether the last tasks are done before it
// sleeps between checks.
const spinTurns = 1 << 15

// maxThreads bounds SetThreads: a larger number is a typing error.
const maxThreads = 1024

// region is one parallel loop. Tasks are claimed by incrementing next; done counts the finished ones.
type region struct {
	tasks int64
	run   func(task int)
	next  atomic.Int64
	done  atomic.Int64

	panicked atomic.Pointer[any] // value of the first panic in a task
}

// work claims and runs tasks until none are left.
func (r *region) work() {
	for {
		t := r.next.Add(1) - 1
		if t >= r.tasks {
			return
		}
		r.do(int(t))
	}
}

// do runs a task. A panic is saved for the caller, because in a worker it would end the process.
func (r *region) do(task int) {
	defer r.done.Add(1)
	defer func() {
		if p := recover(); p != nil {
			r.panicked.CompareAndSwap(nil, &p)
		}
	}()
	r.run(task)
}

// worker is a goroutine of the pool.
type worker struct {
	parked atomic.Bool
	wake   chan struct{}
}

var pool struct {
	busy    sync.Mutex // held by the goroutine whose region is running
	current atomic.Pointer[region]
	threads atomic.Int32
	inside  atomic.Int64 // nanoseconds spent in regions
	grow    sync.Mutex
	workers atomic.Pointer[[]*worker]
}

func init() { SetThreads(0) }

// Threads returns the number of threads that kernels use: GOMAXPROCS at program start, unless SetThreads changed it.
func Threads() int { return int(pool.threads.Load()) }

// SetThreads sets the number of threads that kernels use from the next call on; n < 1 means the current GOMAXPROCS. No
// result depends on it.
func SetThreads(n int) {
	if n < 1 {
		n = runtime.GOMAXPROCS(0) // takes the scheduler's lock, so it must not be called in the spin loop below
	}
	pool.threads.Store(int32(min(n, maxThreads)))
}

// runTasks calls task(0) … task(tasks-1), each once, on the calling goroutine and the pool's workers, and returns when
// all are done. Tasks must write to disjoint memory. A call from inside a task, or while another goroutine's region is
// running, runs its tasks on the calling goroutine. If a task panics, runTasks panics with the first such value once
// the other tasks are done.
func runTasks(tasks int, task func(int)) {
	if tasks <= 1 || !pool.busy.TryLock() {
		runAlone(tasks, task)
		return
	}
	defer pool.busy.Unlock()
	began := time.Now()
	defer func() { pool.inside.Add(int64(time.Since(began))) }()
	if Threads() == 1 {
		runAlone(tasks, task)
		return
	}
	r := &region{tasks: int64(tasks), run: task}
	publish(r, min(Threads(), tasks)-1)
	r.work()
	for i := 0; r.done.Load() < r.tasks; i++ {
		if i > spinTurns {
			time.Sleep(spinTime) // the last worker has been descheduled, perhaps by this loop
		}
		spin(i)
	}
	pool.current.Store(nil)
	if p := r.panicked.Load(); p != nil {
		panic(*p)
	}
}

func runAlone(tasks int, task func(int)) {
	for i := range tasks {
		task(i)
	}
}

// Parallel returns the total time spent so far in work that is split among threads, on any number of them. The
// remainder of a program's time is serial and limits the gain from more threads (Amdahl 1967).
func Parallel() time.Duration { return time.Duration(pool.inside.Load()) }

// For splits [0, n) into pieces of grain (the last may be shorter) and calls body for each, in parallel. The pieces
// depend only on n and grain.
func For(n, grain int, body func(lo, hi int)) {
	if n <= 0 {
		return
	}
	if n <= grain {
		body(0, n)
		return
	}
	runTasks((n+grain-1)/grain, func(i int) {
		body(i*grain, min(n, (i+1)*grain))
	})
}

// publish makes r current and wakes the given number of helpers.
func publish(r *region, helpers int) {
	ws := pool.workers.Load()
	if ws == nil || len(*ws) < helpers {
		ws = startWorkers(helpers)
	}
	pool.current.Store(r)
	for _, w := range (*ws)[:helpers] {
		if w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// startWorkers makes sure that there are n workers. They never exit: a parked goroutine costs only its stack.
func startWorkers(n int) *[]*worker {
	pool.grow.Lock()
	defer pool.grow.Unlock()
	var ws []*worker
	if old := pool.workers.Load(); old != nil {
		ws = append(ws, *old...)
	}
	for len(ws) < n {
		w := &worker{wake: make(chan struct{}, 1)}
		ws = append(ws, w)
		go w.loop(len(ws))
	}
	pool.workers.Store(&ws)
	return &ws
}

// loop is the body of worker id (from 1): it waits for a region and works on it, forever. Weights may be in a mapped
// file, and reads of it fault if the file is truncated; the caller gets that as a panic.
func (w *worker) loop(id int) {
	debug.SetPanicOnFault(true)
	var last *region
	for {
		r := w.await(last, id)
		r.work()
		last = r
	}
}

// await returns the current region once it differs from last, spinning for spinTime before it parks. Workers beyond
// the number of threads park immediately.
func (w *worker) await(last *region, id int) *region {
	fresh := func() *region {
		if r := pool.current.Load(); r != nil && r != last && id < Threads() {
			return r
		}
		return nil
	}
	for {
		start := time.Now()
		for i := 0; id < Threads(); i++ {
			if r := fresh(); r != nil {
				return r
			}
			spin(i)
			if i%64 == 63 && time.Since(start) > spinTime {
				break
			}
		}
		last = nil // a parked worker must not keep a caller's memory alive
		w.parked.Store(true)
		// A region published before this worker parked found it awake and did not wake it, so check once more.
		if r := fresh(); r != nil && w.parked.CompareAndSwap(true, false) {
			return r
		}
		<-w.wake
	}
}

// spin performs iteration i of a spin loop: a processor pause, and occasionally a Gosched for other goroutines. That
// must be rare: Gosched takes the scheduler's lock, and under contention that lock calls sched_yield, which makes the
// whole process wait on a busy Linux system.
func spin(i int) {
	pause()
	if i%1024 == 1023 {
		runtime.Gosched()
	}
}
