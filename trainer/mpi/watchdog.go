package mpi

import (
	"sync/atomic"
	"time"
)

// watchdog detects calls that take too long.
type watchdog struct {
	ticker  ticker
	current atomic.Pointer[request] // the call in progress
	short   atomic.Bool             // timeouts have been shortened
	longest atomic.Int64            // longest reduction so far, in nanoseconds
	began   time.Time               // start of current; used only by the MPI thread
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

// limit returns how long r may take. A shortened limit is still at least twice the longest reduction so far, because
// ranks differ in speed.
func (w *watchdog) limit(r *request, timeout time.Duration) time.Duration {
	if r.waits || !w.short.Load() {
		return timeout
	}
	return min(timeout, max(shortTimeout, 2*time.Duration(w.longest.Load())))
}

// run calls late for the first call that takes longer than allowed and then returns. It counts its own ticks instead of
// reading the clock, so a job that was suspended and resumed as a whole is not mistaken for one that hangs.
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
