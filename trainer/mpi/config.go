package mpi

import (
	"fmt"
	"os"
	"time"

	"mambatrain/internal/fault"
	"mambatrain/trainer"
)

// Config says how ranks work together.
type Config struct {
	// Library is the path of the MPI library; "" = the one that belongs to the launcher.
	Library string
	// Timeout is the longest that one collective call may take. It must be longer than rank 0 needs for a checkpoint, for
	// which the others wait.
	Timeout time.Duration
	// Silence is how long the heartbeat of another rank may be missing, measured in time that this rank was running itself.
	Silence time.Duration
	// Native leaves the additions to MPI_Allreduce. It scales to more ranks; the bits depend on library and placement.
	Native bool
	// BucketBytes is how much is reduced in one call.
	BucketBytes int
	// Print shows the user a line: what should be known before the run, or why the process ends.
	Print func(line string)
	// Exit ends the process.
	Exit func(code int)

	// Tests replace these; zero = the real clock and connectTimeout.
	clock          clock
	connectTimeout time.Duration
}

// Default returns the settings of a run under a launcher.
func Default() Config {
	return Config{
		Timeout:     10 * time.Minute,
		Silence:     silentBeats * time.Second,
		BucketBytes: trainer.DefaultBucketBytes,
		Print:       func(line string) { fmt.Fprintln(os.Stderr, line) },
		Exit:        os.Exit,
	}
}

// Validate returns all faults of the settings as a [fault.List], or nil. A configuration starts from [Default].
func (c Config) Validate() error {
	var l fault.List
	l.Require(c.Timeout > 0, "timeout", "must be positive, got %v", c.Timeout)
	l.Require(c.Silence > 0, "silence", "must be positive, got %v", c.Silence)
	l.AtLeast("bucket_bytes", c.BucketBytes, 4)
	l.Require(c.Print != nil, "print", "must be given")
	l.Require(c.Exit != nil, "exit", "must be given")
	return l.Err()
}

// ticker calls back at intervals.
type ticker interface {
	ticks() <-chan time.Time
	stop()
}

// clock makes tickers.
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
