//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"syscall"
	"unsafe"
)

// handlers contains the process's signal handlers, as known to the kernel, by signal number.
type handlers [65]handler

// handler is struct sigaction of rt_sigaction(2).
type handler struct{ function, flags, restorer, mask uintptr }

const maskBytes = 8 // 64 signals

func readHandlers() *handlers {
	h := new(handlers)
	for s := 1; s < len(h); s++ {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&h[s])), maskBytes, 0, 0)
	}
	return h
}

// restore restores the Go runtime's handlers where the library has replaced them. MPICH 4 replaces SIGSEGV, SIGBUS,
// SIGFPE, SIGILL, SIGHUP, and SIGUSR1, and MPICH 5 SIGUSR1, without SA_ONSTACK, which crashes a Go program when the
// signal arrives.
func (h *handlers) restore() {
	now := readHandlers()
	for s := 1; s < len(h); s++ {
		if now[s] != h[s] {
			syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&h[s])), 0, maskBytes, 0, 0)
		}
	}
}
