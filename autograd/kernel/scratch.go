package kernel

import (
	"sync"
	"unsafe"
)

// buffer is scratch memory that outlives the call that needed it.
type buffer struct {
	raw, data []float32
}

// scratch keeps returned buffers, sorted into powers of two, so that a steady state allocates nothing.
var scratch struct {
	sync.Mutex
	free [48][]*buffer
}

// borrow returns a buffer of n elements with arbitrary content, at a cache line's start.
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

// giveBack ends the use of b.
func giveBack(b *buffer) {
	class := 6
	for 1<<class < cap(b.data) {
		class++
	}
	scratch.Lock()
	scratch.free[class] = append(scratch.free[class], b)
	scratch.Unlock()
}
