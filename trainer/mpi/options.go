package mpi

import (
	"fmt"
	"os"
	"time"
)

// Options say how ranks work together. The zero value is usable.
type Options struct {
	// Library is the path of the MPI library; "" = the one that belongs to the launcher.
	Library string
	// Timeout is the longest that one collective call may take; 0 = 10 minutes. It must be longer than rank 0 needs for
	// a checkpoint, for which the others wait.
	Timeout time.Duration
	// Silence is how long the heartbeat of another rank may fail to come, in time that this rank was running itself;
	// 0 = 20 seconds.
	Silence time.Duration
	// Native leaves the additions to MPI_Allreduce. It scales to more ranks; the bits depend on library and placement.
	Native bool
	// BucketBytes is how much is reduced in one call; 0 = 4 MiB.
	BucketBytes int
	// Print shows the user a line: what should be known before the run, or why the process ends; nil = standard error.
	Print func(line string)
	// Exit ends the process; nil = os.Exit.
	Exit func(code int)
}

const (
	defaultTimeout = 10 * time.Minute
	defaultSilence = silentBeats * time.Second
	defaultBucket  = 4 << 20
)

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Silence == 0 {
		o.Silence = defaultSilence
	}
	if o.BucketBytes < 4 {
		o.BucketBytes = defaultBucket
	}
	if o.Print == nil {
		o.Print = func(line string) { fmt.Fprintln(os.Stderr, line) }
	}
	if o.Exit == nil {
		o.Exit = os.Exit
	}
	return o
}
