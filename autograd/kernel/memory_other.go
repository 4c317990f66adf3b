//go:build !linux

package kernel

import "unsafe"

// advise does nothing on this system.
func advise(unsafe.Pointer, int) {}
