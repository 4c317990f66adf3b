//go:build ((linux && (mpi || vulkan)) || darwin || windows) && (amd64 || arm64)

package sharedlib

import "github.com/ebitengine/purego"

// supported reports whether Open can work in this program.
const supported = true

// Call calls the C function at address f. Whatever the arguments point to stays where it is until the call returns, if they are
// converted from pointers in the argument list itself.
//
//go:uintptrescapes
func Call(f uintptr, args ...uintptr) uintptr {
	r, _, _ := purego.SyscallN(f, args...)
	return r
}
