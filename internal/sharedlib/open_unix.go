//go:build ((linux && (mpi || vulkan)) || darwin) && (amd64 || arm64)

package sharedlib

import "github.com/ebitengine/purego"

func open(s Scope, path string) (uintptr, error) {
	mode := purego.RTLD_NOW
	if s == Global {
		mode |= purego.RTLD_GLOBAL
	} else {
		mode |= purego.RTLD_LOCAL
	}
	return purego.Dlopen(path, mode)
}

func symbol(handle uintptr, name string) (uintptr, error) { return purego.Dlsym(handle, name) }
