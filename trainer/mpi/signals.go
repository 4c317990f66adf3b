//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"syscall"
	"unsafe"
)

// handlers are the process's signal handlers as the kernel knows them, by signal number.
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

// restore puts the Go runtime's handlers back where the library has installed its own. MPICH 4 takes SIGSEGV, SIGBUS,
// SIGFPE, SIGILL, SIGHUP and SIGUSR1, MPICH 5 SIGUSR1 without SA_ONSTACK, which kills a Go program when it comes.
func (h *handlers) restore() {
	now := readHandlers()
	for s := 1; s < len(h); s++ {
		if now[s] != h[s] {
			syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&h[s])), 0, maskBytes, 0, 0)
		}
	}
}
