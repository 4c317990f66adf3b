//go:build unix

package main

import (
	"os"
	"syscall"
)

// saveSignal asks a training run to save its state and end, as SIGTERM does, but as a success.
var saveSignal os.Signal = syscall.SIGUSR1
