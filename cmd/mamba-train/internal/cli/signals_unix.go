//go:build unix

package cli

import (
	"os"
	"syscall"
)

// SaveSignal tells a training run to save its state and exit, like SIGTERM, but with exit code 0.
var SaveSignal os.Signal = syscall.SIGUSR1
