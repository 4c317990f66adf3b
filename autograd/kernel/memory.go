package kernel

import (
	"sync/atomic"
	"unsafe"
)

// largeArray is the size in bytes from which on Make asks for huge pages.
const largeArray = 1 << 20

// Stagger is how many bytes apart large arrays should start, modulo 2 KiB, see Make: the width of a scan's block.
const Stagger = 4 * scanBlock

// made counts the large arrays.
var made atomic.Uint32

// Make returns a zeroed array of n elements for kernels to read and write in order. A large one is in huge pages if the operating
// system grants them: looking up small pages costs a product more than its arithmetic hides. It also does not start where the
// one before it did, modulo 2 KiB: an op reads the same element of several arrays, which would fall into one set of a cache.
func Make[E any](n int) []E {
	var e E
	size := int(unsafe.Sizeof(e))
	if n*size < largeArray {
		return make([]E, n)
	}
	skip := int(made.Add(1)%8) * Stagger / size
	x := make([]E, skip+n)
	advise(unsafe.Pointer(unsafe.SliceData(x)), len(x)*size)
	return x[skip:]
}

// offset returns the address n elements after p, which must be in the same array.
func offset(p *float32, n int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*n))
}
