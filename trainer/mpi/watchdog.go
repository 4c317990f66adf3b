package mpi

import (
	"sync/atomic"
	"time"
)

// watchdog sees calls that take too long.
type watchdog struct {
	now     atomic.Pointer[job] // the call under way
	hurried atomic.Bool
	longest atomic.Int64 // nanoseconds of the longest reduction so far
	began   time.Time    // of now; only the MPI thread uses it
}

const (
	watchTick  = 100 * time.Millisecond
	hurryLimit = 5 * time.Second
)

func (w *watchdog) begin(j *job) {
	w.began = time.Now()
	w.now.Store(j)
}

func (w *watchdog) end() {
	j := w.now.Swap(nil)
	if d := int64(time.Since(w.began)); !j.waits && d > w.longest.Load() {
		w.longest.Store(d)
	}
}

func (w *watchdog) hurry() { w.hurried.Store(true) }

// limit is how long j may take. In a hurry it is still twice what a reduction has taken before: ranks differ in speed.
func (w *watchdog) limit(j *job, timeout time.Duration) time.Duration {
	if j.waits || !w.hurried.Load() {
		return timeout
	}
	return min(timeout, max(hurryLimit, 2*time.Duration(w.longest.Load())))
}

// run calls late for a call that takes longer than allowed, and then ends. It counts its own ticks instead of reading
// the clock, so that a job that was suspended as a whole and then continued is not taken for one that hangs.
func (w *watchdog) run(timeout time.Duration, late func(*job, time.Duration)) {
	ticker := time.NewTicker(watchTick)
	defer ticker.Stop()
	var seen *job
	var waited time.Duration
	for range ticker.C {
		j := w.now.Load()
		if j == nil || j != seen {
			seen, waited = j, 0
			continue
		}
		waited += watchTick
		if limit := w.limit(j, timeout); waited > limit {
			late(j, limit)
			return
		}
	}
}
