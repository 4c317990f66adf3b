package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// The pool keeps threads-1 goroutines next to the caller. Waking a parked goroutine costs tens of microseconds, as much
// as a small kernel, so a worker that runs out of work first spins for spinTime and only then parks: back-to-back kernels
// find their workers awake, an idle process burns nothing.
const spinTime = 100 * time.Microsecond

// patience is how many turns, about a millisecond, the caller spins for the last tasks before it sleeps between looks.
const patience = 1 << 15

// maxThreads bounds SetThreads; beyond it lies a typing error, not a machine.
const maxThreads = 1024

// region is one parallel loop: tasks are claimed by counting up next, and done counts those that have finished.
type region struct {
	tasks int64
	run   func(task int)
	next  atomic.Int64
	done  atomic.Int64
}

// work claims and runs tasks until none is left.
func (r *region) work() {
	for {
		t := r.next.Add(1) - 1
		if t >= r.tasks {
			return
		}
		r.run(int(t))
		r.done.Add(1)
	}
}

type worker struct {
	parked atomic.Bool
	wake   chan struct{}
}

var pool struct {
	busy    sync.Mutex // held by the goroutine whose region is current
	current atomic.Pointer[region]
	threads atomic.Int32
	inside  atomic.Int64 // nanoseconds spent in regions
	grow    sync.Mutex
	workers atomic.Pointer[[]*worker]
}

func init() { SetThreads(0) }

// Threads returns how many threads kernels use: what GOMAXPROCS was at the start, unless SetThreads said otherwise.
func Threads() int { return int(pool.threads.Load()) }

// SetThreads sets how many threads kernels use from the next call on; n < 1 takes the current GOMAXPROCS. No result depends
// on it.
func SetThreads(n int) {
	if n < 1 {
		n = runtime.GOMAXPROCS(0) // takes the scheduler's lock: not for the spin loop below
	}
	pool.threads.Store(int32(min(n, maxThreads)))
}

// Run calls task(0) … task(tasks-1), each once, on the calling goroutine and the pool's workers, and returns when all are
// done. Tasks must write to disjoint memory. A call from inside a task, or while another goroutine's region is running,
// runs its tasks on the calling goroutine.
func Run(tasks int, task func(int)) {
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
		if i > patience {
			time.Sleep(spinTime) // the straggler has lost its processor, perhaps to this loop
		}
		breathe(i)
	}
	pool.current.Store(nil)
}

func runAlone(tasks int, task func(int)) {
	for i := range tasks {
		task(i)
	}
}

// Parallel returns the time spent so far in work that is split, on however many threads. The rest of a program's time is
// serial: it bounds what more threads can gain (Amdahl 1967).
func Parallel() time.Duration { return time.Duration(pool.inside.Load()) }

// For splits [0, n) into pieces of grain (the last may be shorter) and calls body for each, in parallel. The pieces depend
// on n and grain only.
func For(n, grain int, body func(lo, hi int)) {
	if n <= 0 {
		return
	}
	if n <= grain {
		body(0, n)
		return
	}
	Run((n+grain-1)/grain, func(i int) {
		body(i*grain, min(n, (i+1)*grain))
	})
}

// publish makes r current and sees to it that helpers workers are awake.
func publish(r *region, helpers int) {
	ws := pool.workers.Load()
	if ws == nil || len(*ws) < helpers {
		ws = hire(helpers)
	}
	pool.current.Store(r)
	for _, w := range (*ws)[:helpers] {
		if w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// hire brings the crew up to n workers. Workers are never dismissed: a parked goroutine costs its stack.
func hire(n int) *[]*worker {
	pool.grow.Lock()
	defer pool.grow.Unlock()
	var crew []*worker
	if old := pool.workers.Load(); old != nil {
		crew = append(crew, *old...)
	}
	for len(crew) < n {
		w := &worker{wake: make(chan struct{}, 1)}
		crew = append(crew, w)
		go w.loop(len(crew))
	}
	pool.workers.Store(&crew)
	return &crew
}

// loop is the life of worker id (from 1): look for a region, work, spin, park.
func (w *worker) loop(id int) {
	var last *region
	for {
		r := w.await(last, id)
		r.work()
		last = r
	}
}

// await returns the current region once it differs from last, spinning for spinTime before it parks. Workers beyond the
// number of threads park at once.
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
			breathe(i)
			if i%64 == 63 && time.Since(start) > spinTime {
				break
			}
		}
		last = nil // a parked worker keeps no caller's memory alive
		w.parked.Store(true)
		// A region published between the last look and the line above has seen us awake: look once more.
		if r := fresh(); r != nil && w.parked.CompareAndSwap(true, false) {
			return r
		}
		<-w.wake
	}
}

// breathe is one turn of a spin loop: mostly a processor pause, now and then a chance for other goroutines. Not more often:
// the scheduler's lock that Gosched takes ends in sched_yield when contended, for which a busy Linux makes the whole process
// wait.
func breathe(i int) {
	pause()
	if i%1024 == 1023 {
		runtime.Gosched()
	}
}
