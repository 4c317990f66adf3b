//go:build !linux

package kernel

import "unsafe"

// advise does nothing here.
func advise(unsafe.Pointer, int) {}
