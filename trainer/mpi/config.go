package mpi

import (
	"fmt"
	"os"
	"time"

	"mambatrain/internal/fault"
	"mambatrain/trainer"
)

// Config contains the settings of communication between ranks.
type Config struct {
	// Library is the path of the MPI library; "" selects the one that belongs to the launcher.
	Library string
	// Timeout is the maximum duration of one collective call. It must exceed the time rank 0 needs to write a
	// checkpoint, during which the others wait.
	Timeout time.Duration
	// Silence is how long the heartbeat of another rank may be missing, measured in this rank's own running time.
	Silence time.Duration
	// Native lets MPI_Allreduce do the additions. It scales to more ranks, but the bits depend on the library and the
	// placement of ranks.
	Native bool
	// BucketBytes is the amount reduced in one call, at most [MaxCallBytes].
	BucketBytes int
	// Print shows the user a line: a warning before the run, or the reason why the process ends.
	Print func(line string)
	// Exit ends the process.
	Exit func(code int)

	// Tests replace these; their zero values mean the real clock and connectTimeout.
	clock          clock
	connectTimeout time.Duration
}

// Default returns the settings for a run under a launcher.
func Default() Config {
	return Config{
		Timeout:     10 * time.Minute,
		Silence:     silentBeats * time.Second,
		BucketBytes: trainer.DefaultBucketBytes,
		Print:       func(line string) { fmt.Fprintln(os.Stderr, line) },
		Exit:        os.Exit,
	}
}

// Validate returns all faults in the settings as a [fault.List], or nil. A valid Config starts from [Default].
func (c Config) Validate() error {
	var l fault.List
	l.Require(c.Timeout > 0, "timeout", "must be positive, got %v", c.Timeout)
	l.Require(c.Silence >= silentBeats, "silence", "must be at least %v, got %v", time.Duration(silentBeats), c.Silence)
	l.AtLeast("bucket_bytes", c.BucketBytes, 4)
	l.AtMost("bucket_bytes", float64(c.BucketBytes), MaxCallBytes)
	l.Require(c.Print != nil, "print", "is required")
	l.Require(c.Exit != nil, "exit", "is required")
	return l.Err()
}

// ticker ticks at intervals.
type ticker interface {
	ticks() <-chan time.Time
	stop()
}

// clock creates tickers.
type clock func(every time.Duration) ticker

type realTicker struct{ *time.Ticker }

func (t realTicker) ticks() <-chan time.Time { return t.C }
func (t realTicker) stop()                   { t.Stop() }

func (c Config) newTicker(every time.Duration) ticker {
	if c.clock != nil {
		return c.clock(every)
	}
	return realTicker{time.NewTicker(every)}
}
