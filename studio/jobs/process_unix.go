//go:build unix

package jobs

import (
	"os"
	"syscall"
)

// detached puts a process into a session without a terminal, where it gets none of the server's signals.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// interrupt makes a training finish its step and save.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
