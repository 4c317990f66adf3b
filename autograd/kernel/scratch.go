package kernel

import (
	"sync"
	"unsafe"
)

// buffer is scratch memory that is used again by later calls.
type buffer struct {
	raw, data []float32
}

// scratch has the buffers that were given back, by their sizes' powers of two, so that a steady state allocates nothing.
var scratch struct {
	sync.Mutex
	free [48][]*buffer
}

// borrow returns a buffer of n elements with arbitrary content, aligned to a cache line. giveBack must be called afterwards.
func borrow(n int) *buffer {
	class := 6
	for 1<<class < n {
		class++
	}
	scratch.Lock()
	defer scratch.Unlock()
	if f := scratch.free[class]; len(f) > 0 {
		b := f[len(f)-1]
		scratch.free[class] = f[:len(f)-1]
		b.data = b.data[:n]
		return b
	}
	raw := Make[float32](1<<class + 16)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) & 63 / 4)
	return &buffer{raw, raw[skip : skip+n : skip+1<<class]}
}

// giveBack makes b available to later calls of borrow.
func giveBack(b *buffer) {
	class := 6
	for 1<<class < cap(b.data) {
		class++
	}
	scratch.Lock()
	scratch.free[class] = append(scratch.free[class], b)
	scratch.Unlock()
}
