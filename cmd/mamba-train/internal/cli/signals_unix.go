//go:build unix

package cli

import (
	"os"
	"syscall"
)

// SaveSignal asks a training run to save its state and end, as SIGTERM does, but as a success.
var SaveSignal os.Signal = syscall.SIGUSR1
