//go:build !(((linux && (mpi || vulkan)) || darwin || windows) && (amd64 || arm64))

package sharedlib

// supported reports whether Open can work in this program.
const supported = false

// Call returns 0. It is never used, since no library can be opened.
func Call(uintptr, ...uintptr) uintptr { return 0 }

func open(Scope, string) (uintptr, error)     { return 0, ErrUnsupported }
func symbol(uintptr, string) (uintptr, error) { return 0, ErrUnsupported }
