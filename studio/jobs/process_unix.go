//go:build unix

package jobs

import (
	"os"
	"syscall"
)

// detached starts a process in a new session without a terminal, where it receives none of the server's signals.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// interrupt tells a training run to finish its step and save.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
