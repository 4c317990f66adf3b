package kernel

import (
	"sync"
	"unsafe"
)

// buffer is scratch memory that later calls reuse.
type buffer struct {
	raw, data []float32
}

// scratch contains the returned buffers by size class (powers of two), so that a steady state allocates nothing.
var scratch struct {
	sync.Mutex
	free [48][]*buffer
}

// borrow returns a buffer of n elements with arbitrary content, aligned to a cache line. giveBack must be called
// afterwards.
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

// arena is scratch memory handed out in pieces; in float32 it is a borrowed buffer.
type arena[T Float] struct {
	free []T
	buf  *buffer
}

// newArena returns an arena of n elements with arbitrary content. release must be called afterwards.
func newArena[T Float](n int) *arena[T] {
	if !is32[T]() {
		return &arena[T]{free: make([]T, n)}
	}
	buf := borrow(n)
	return &arena[T]{any(buf.data).([]T), buf}
}

func (a *arena[T]) release() {
	if a.buf != nil {
		giveBack(a.buf)
	}
}

// take returns n elements, aligned to a cache line. It uses up n rounded up to whole vectors.
func (a *arena[T]) take(n int) []T {
	got := a.free[:n:n]
	a.free = a.free[min(len(a.free), wholeVectors(n)):]
	return got
}

// matrix returns a matrix whose rows are ld elements apart.
func (a *arena[T]) matrix(rows, cols, ld int) Mat[T] {
	return Mat[T]{a.take(rows * ld), rows, cols, ld}
}
