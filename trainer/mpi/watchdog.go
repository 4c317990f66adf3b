package mpi

import (
	"sync/atomic"
	"time"
)

// watchdog notices calls that take too long.
type watchdog struct {
	ticker  ticker
	current atomic.Pointer[request] // the call in progress
	short   atomic.Bool             // timeouts have been shortened
	longest atomic.Int64            // nanoseconds of the longest reduction so far
	began   time.Time               // of current; only the MPI thread uses it
}

const (
	watchTick    = 100 * time.Millisecond
	shortTimeout = 5 * time.Second
)

func (w *watchdog) begin(r *request) {
	w.began = time.Now()
	w.current.Store(r)
}

func (w *watchdog) end() {
	r := w.current.Swap(nil)
	if d := int64(time.Since(w.began)); !r.waits && d > w.longest.Load() {
		w.longest.Store(d)
	}
}

func (w *watchdog) shorten() { w.short.Store(true) }

// limit returns how long r may take. A shortened one is still twice what a reduction has taken before: ranks differ in
// speed.
func (w *watchdog) limit(r *request, timeout time.Duration) time.Duration {
	if r.waits || !w.short.Load() {
		return timeout
	}
	return min(timeout, max(shortTimeout, 2*time.Duration(w.longest.Load())))
}

// run calls late for a call that takes longer than allowed, and then ends. It counts its own ticks instead of reading
// the clock, so that a job that was suspended as a whole and then continued is not taken for one that hangs.
func (w *watchdog) run(timeout time.Duration, late func(*request, time.Duration)) {
	defer w.ticker.stop()
	var seen *request
	var waited time.Duration
	for {
		<-w.ticker.ticks()
		r := w.current.Load()
		if r == nil || r != seen {
			seen, waited = r, 0
			continue
		}
		waited += watchTick
		if limit := w.limit(r, timeout); waited > limit {
			late(r, limit)
			return
		}
	}
}
