//go:build !windows

package vulkan

import "syscall"

// reserve returns n bytes of addresses without memory: touching them is a fault.
func reserve(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

// unreserve gives addresses back; nil does nothing.
func unreserve(b []byte) {
	if b != nil {
		_ = syscall.Munmap(b) // of a range that Mmap returned
	}
}
