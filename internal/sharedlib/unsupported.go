//go:build !(((linux && (mpi || vulkan)) || darwin || windows) && (amd64 || arm64))

package sharedlib

// supported reports whether Open can work in this program.
const supported = false

// Call never runs: nothing can be opened.
func Call(uintptr, ...uintptr) uintptr { panic("sharedlib: " + ErrUnsupported.Error()) }

func open(Scope, string) (uintptr, error)     { return 0, ErrUnsupported }
func symbol(uintptr, string) (uintptr, error) { return 0, ErrUnsupported }
