package mpi

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"mambatrain/trainer"
)

// Comm is a communicator with several ranks. Only one call may be in progress at a time, except for Abort and
// ShortenTimeouts.
type Comm struct {
	lib        library
	rank, size int
	host       string
	config     Config
	requests   chan *request
	watch      watchdog
	heart      *heartbeat
	closed     atomic.Bool
	cores      int

	recv []float32 // data received from the other ranks
	pad  []float32 // padded copy of a bucket whose length is not a multiple of the number of ranks
	sent []float64
}

var _ trainer.Communicator = (*Comm)(nil)

// request is a call for the MPI thread to make.
type request struct {
	name string
	run  func() error
	done chan error
	// waits marks calls in which other ranks may be late because rank 0 is reading or writing files or generating text.
	waits bool
}

// start opens the library on a dedicated thread (MPI_THREAD_FUNNELED) and connects to the other ranks.
func start(open func() (library, error), l launch, config Config) (*Comm, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("mpi: %w", err)
	}
	config.connectTimeout = cmp.Or(config.connectTimeout, connectTimeout)
	c := &Comm{host: hostName(), config: config, requests: make(chan *request)}
	c.rank, c.size, c.heart = l.rank, l.size, newHeartbeat(config)
	c.watch.ticker = config.newTicker(watchTick)
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := c.join(open, l)
		ready <- err
		if err == nil {
			c.serve()
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	go c.watch.run(config.Timeout, func(r *request, limit time.Duration) {
		c.lost(fmt.Sprintf("%s did not finish within %v: another rank is stuck, lost, or disconnected", r.name, limit))
	})
	peers, err := c.connect()
	if err != nil {
		return nil, err
	}
	c.heart.watch(peers, c.lost)
	return c, nil
}

// lost ends this process because another rank will never make its next call. It does not use MPI, whose thread may be
// waiting for that rank.
func (c *Comm) lost(reason string) {
	c.config.Print(fmt.Sprintf("%s%s; start again with --resume", Prefix(c), reason))
	c.heart.stop(failing)
	if c.heart.cutOff() {
		killLauncher()
	}
	c.config.Exit(ExitLost)
}

// join checks that the library agrees with the launcher: a library that belongs to a different launcher sees no other
// ranks and would let each of them train alone.
func (c *Comm) join(open func() (library, error), l launch) (err error) {
	if c.lib, err = open(); err != nil {
		return err
	}
	if c.rank, err = c.lib.rank(); err != nil {
		return err
	}
	if c.size, err = c.lib.size(); err != nil {
		return err
	}
	if c.rank == l.rank && c.size == l.size {
		return nil
	}
	err = refusef("%s started this process as rank %d of %d, but the library (%s) reports rank %d of %d: they do not belong together; set distributed.library to the launcher's own library",
		l.name, l.rank, l.size, c.lib.version(), c.rank, c.size)
	return errors.Join(err, c.lib.finalize())
}

// serve makes the calls that other goroutines request. It never returns: libraries may not survive the end of the
// thread that initialized them.
func (c *Comm) serve() {
	for r := range c.requests {
		c.watch.begin(r)
		err := r.run()
		c.watch.end()
		r.done <- err
	}
}

// do runs r on the MPI thread and waits for it.
func (c *Comm) do(r request) error {
	if c.closed.Load() {
		return &LostError{fmt.Errorf("%s after Close", r.name)}
	}
	r.done = make(chan error, 1)
	c.requests <- &r
	if err := <-r.done; err != nil {
		return &LostError{err}
	}
	return nil
}

// LostError is the error of a failed call, usually because another rank has died.
type LostError struct{ err error }

func (e *LostError) Error() string { return "mpi: " + e.err.Error() }
func (e *LostError) Unwrap() error { return e.err }

// ExitLost is the exit code of a process that ends because another rank is lost: EX_TEMPFAIL in sysexits.h.
const ExitLost = 75

// Rank returns this process's rank, from 0.
func (c *Comm) Rank() int { return c.rank }

// Size returns the number of ranks.
func (c *Comm) Size() int { return c.size }

// Cores returns the number of this host's cores assigned to this rank if several ranks share them; 0 means all that the
// process may use.
func (c *Comm) Cores() int { return c.cores }

// Version returns the name and version of the library.
func (c *Comm) Version() string { return c.lib.version() }

// AllReduceSum replaces x with its sum over all ranks. MPI chooses the order, so an element's bits are deterministic
// only if at most one rank's value is nonzero.
func (c *Comm) AllReduceSum(x []float64) error { return c.combine("all-reduce", x, c.lib.sumFloat64s) }

// AllReduceMax replaces each element with its maximum over all ranks.
func (c *Comm) AllReduceMax(x []float64) error { return c.combine("all-reduce", x, c.lib.maxFloat64s) }

func (c *Comm) combine(name string, x []float64, op func(recv, send []float64) error) error {
	if len(x) == 0 {
		return nil
	}
	return c.do(request{name: name, run: func() error {
		c.sent = append(c.sent[:0], x...)
		return op(x, c.sent)
	}})
}

// MaxCallBytes is the maximum size of one call: MPI counts are 32-bit.
const MaxCallBytes = 1 << 30

// Broadcast copies root's x to all ranks. It may wait for rank 0's files: rank 0 announces with it what it reads from a
// checkpoint and, when the optimizer is divided, what it writes next.
func (c *Comm) Broadcast(x []byte, root int) error {
	return c.do(request{name: "broadcast", waits: true, run: func() error {
		for len(x) > 0 {
			n := min(len(x), MaxCallBytes)
			if err := c.lib.broadcast(x[:n], root); err != nil {
				return err
			}
			x = x[n:]
		}
		return nil
	}})
}

// Barrier returns when all ranks have called it.
func (c *Comm) Barrier() error {
	return c.do(request{name: "barrier", waits: true, run: c.lib.barrier})
}

const (
	// abortTimeout is how long MPI_Abort waits for a call in progress.
	abortTimeout = 5 * time.Second
	// messageTime is the time that a launcher has to forward a message: MPICH's discards unread output when it ends a
	// job.
	messageTime = 200 * time.Millisecond
)

// Abort prints the message and ends all ranks with the exit code. It does not return unless Config.Exit does.
func (c *Comm) Abort(code int, message string) {
	c.config.Print(Prefix(c) + message)
	c.heart.stop(failing)
	if !c.closed.Swap(true) {
		time.Sleep(messageTime)
		deadline := time.After(abortTimeout)
		r := &request{name: "abort", done: make(chan error, 1), run: func() error {
			c.lib.abort(code)
			return nil
		}}
		select {
		case c.requests <- r:
			select {
			case <-r.done:
			case <-deadline:
			}
		case <-deadline:
		}
	}
	c.config.Exit(code)
}

// Close waits for all ranks and leaves MPI. A launcher treats a process that ends without this as failed.
func (c *Comm) Close() error {
	if c.closed.Load() {
		return nil
	}
	err := c.do(request{name: "finalize", waits: true, run: c.lib.finalize})
	c.closed.Store(true)
	if err != nil {
		c.heart.stop(failing)
		return err
	}
	c.heart.stop(finished)
	return nil
}

// ShortenTimeouts limits the duration of a reduction to seconds. After a scheduler has announced the end of the job,
// the remaining time is needed for the checkpoint, not for waiting on lost ranks.
func (c *Comm) ShortenTimeouts() { c.watch.shorten() }

// Prefix returns a prefix for a rank's output lines; it is empty for a single rank.
func Prefix(c trainer.Communicator) string {
	if c.Size() == 1 {
		return ""
	}
	return fmt.Sprintf("[rank %d/%d %s] ", c.Rank(), c.Size(), hostName())
}
