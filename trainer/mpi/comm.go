package mpi

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"mambatrain/trainer"
)

// Comm is a communicator of several ranks. One call at a time may be under way, beside Abort and Hurry.
type Comm struct {
	lib        library
	rank, size int
	host       string
	options    Options
	jobs       chan *job
	watch      watchdog
	heart      *heartbeat
	closed     atomic.Bool
	cores      int

	recv []float32 // what comes from the other ranks
	pad  []float32 // a copy of a bucket whose length the number of ranks does not divide
	sent []float64
}

var _ trainer.Communicator = (*Comm)(nil)

// job is a call that the MPI thread makes.
type job struct {
	name string
	run  func() error
	done chan error
	// waits says that the others may be long in coming: rank 0 writes files meanwhile.
	waits bool
}

// start opens the library on a thread of its own, MPI_THREAD_FUNNELED, and joins the other ranks.
func start(open func() (library, error), l launched, o Options) (*Comm, error) {
	c := &Comm{host: hostName(), options: o.withDefaults(), jobs: make(chan *job)}
	c.rank, c.size, c.heart = l.rank, l.size, newHeartbeat(c.options.Silence)
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
	go c.watch.run(c.options.Timeout, func(j *job, limit time.Duration) {
		c.lost(fmt.Sprintf("%s has not finished in %v: another rank is stuck, lost or cut off", j.name, limit))
	})
	peers, err := c.meet()
	if err != nil {
		return nil, err
	}
	c.heart.watch(peers, c.lost)
	return c, nil
}

// lost ends this process because another rank will not come any more. MPI is not asked: its thread may be waiting for
// that rank.
func (c *Comm) lost(reason string) {
	c.options.Print(fmt.Sprintf("%s%s; start again with --resume", Prefix(c), reason))
	c.heart.stop(failing)
	if c.heart.cutOff() {
		endLauncher()
	}
	c.options.Exit(exitLost)
}

// join compares what the launcher promised with what the library found: one that belongs to another launcher knows of no
// other ranks and would let each of them train alone.
func (c *Comm) join(open func() (library, error), l launched) (err error) {
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
	err = refusef("%s says that this is rank %d of %d, the library (%s) says rank %d of %d: they do not belong together; name the launcher's own library in distributed.library",
		l.name, l.rank, l.size, c.lib.version(), c.rank, c.size)
	return errors.Join(err, c.lib.finalize())
}

// serve makes the calls that other goroutines ask for. It never ends: libraries may not like to lose the thread that
// has initialised them.
func (c *Comm) serve() {
	for j := range c.jobs {
		c.watch.begin(j)
		err := j.run()
		c.watch.end()
		j.done <- err
	}
}

// do runs j on the MPI thread and waits for it.
func (c *Comm) do(j job) error {
	if c.closed.Load() {
		return &ErrLost{fmt.Errorf("%s after Close", j.name)}
	}
	j.done = make(chan error, 1)
	c.jobs <- &j
	if err := <-j.done; err != nil {
		return &ErrLost{err}
	}
	return nil
}

// ErrLost is the error of a call that failed, most often because another rank has died.
type ErrLost struct{ err error }

func (e *ErrLost) Error() string { return "mpi: " + e.err.Error() }
func (e *ErrLost) Unwrap() error { return e.err }

// ExitCode is the process's exit code, EX_TEMPFAIL of sysexits.h.
func (e *ErrLost) ExitCode() int { return exitLost }

const exitLost = 75

// Rank is this process's number, from 0.
func (c *Comm) Rank() int { return c.rank }

// Size is the number of ranks.
func (c *Comm) Size() int { return c.size }

// Cores is how many of this host's cores are for this rank where several share them; 0 = all that the process may use.
func (c *Comm) Cores() int { return c.cores }

// Version names the library.
func (c *Comm) Version() string { return c.lib.version() }

// AllReduceSum replaces x by its sum over all ranks. MPI chooses the order, so that the sum has exact bits only where at
// most one rank's element is not zero.
func (c *Comm) AllReduceSum(x []float64) error { return c.combine("all-reduce", x, c.lib.sumFloat64s) }

// AllReduceMax replaces each element by its largest over all ranks.
func (c *Comm) AllReduceMax(x []float64) error { return c.combine("all-reduce", x, c.lib.maxFloat64s) }

func (c *Comm) combine(name string, x []float64, op func(recv, send []float64) error) error {
	if len(x) == 0 {
		return nil
	}
	return c.do(job{name: name, run: func() error {
		c.sent = append(c.sent[:0], x...)
		return op(x, c.sent)
	}})
}

// broadcastBytes is how much one call sends: MPI counts in 32 bits.
const broadcastBytes = 1 << 30

// Broadcast copies root's x to all ranks.
func (c *Comm) Broadcast(x []byte, root int) error {
	return c.do(job{name: "broadcast", run: func() error {
		for len(x) > 0 {
			n := min(len(x), broadcastBytes)
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
	return c.do(job{name: "barrier", waits: true, run: c.lib.barrier})
}

const (
	// abortPatience is how long a call under way may keep MPI_Abort waiting.
	abortPatience = 5 * time.Second
	// lastWords is the time that a launcher has to pass the message on: MPICH's drops what it has not read when it ends a job.
	lastWords = 200 * time.Millisecond
)

// Abort prints the message and ends all ranks with the exit code. It does not return, unless Options.Exit does.
func (c *Comm) Abort(code int, message string) {
	c.options.Print(Prefix(c) + message)
	c.heart.stop(failing)
	if !c.closed.Swap(true) {
		time.Sleep(lastWords)
		deadline := time.After(abortPatience)
		j := &job{name: "abort", done: make(chan error, 1), run: func() error {
			c.lib.abort(code)
			return nil
		}}
		select {
		case c.jobs <- j:
			select {
			case <-j.done:
			case <-deadline:
			}
		case <-deadline:
		}
	}
	c.options.Exit(code)
}

// Close waits for all ranks and leaves MPI. A process that ends without it has failed in the eyes of its launcher.
func (c *Comm) Close() error {
	if c.closed.Load() {
		return nil
	}
	err := c.do(job{name: "finalize", waits: true, run: c.lib.finalize})
	c.closed.Store(true)
	if err != nil {
		c.heart.stop(failing)
		return err
	}
	c.heart.stop(finished)
	return nil
}

// Hurry shortens the time that a reduction may take to seconds: when a scheduler has announced the end, the remaining
// time is for the checkpoint and not for ranks that are gone already.
func (c *Comm) Hurry() { c.watch.hurry() }

// Prefix marks the lines of one rank of several; it is empty for a rank alone.
func Prefix(c trainer.Communicator) string {
	if c.Size() == 1 {
		return ""
	}
	return fmt.Sprintf("[rank %d/%d %s] ", c.Rank(), c.Size(), hostName())
}
