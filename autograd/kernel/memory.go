package kernel

import (
	"sync/atomic"
	"unsafe"
)

// largeArray is the smallest size in bytes for which Make asks for huge pages.
const largeArray = 1 << 20

// Stagger is the offset in bytes between the starts of large arrays, modulo 2 KiB: the width of a scan's block. See
// Make.
const Stagger = 4 * scanBlock

// made counts the large arrays.
var made atomic.Uint32

// Make returns a zeroed array of n elements. A large array uses huge pages if the operating system grants them, because
// matrix products read so many small pages that address translation would slow them down. Successive large arrays also
// start at different addresses modulo 2 KiB, because ops read the same element of several arrays, and these would
// otherwise fall into the same cache set.
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
