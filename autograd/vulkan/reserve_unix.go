//go:build !windows

package vulkan

import "syscall"

// reserve returns n bytes of addresses without memory. Accessing them causes a fault.
func reserve(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

// unreserve releases addresses from reserve; nil does nothing.
func unreserve(b []byte) {
	if b != nil {
		_ = syscall.Munmap(b) // b comes from Mmap
	}
}
