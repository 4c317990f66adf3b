package kernel

import (
	"sync/atomic"
	"unsafe"
)

// largeArray is from how many bytes on an array gets huge pages.
const largeArray = 1 << 20

// Stagger is by how many bytes large arrays should differ in where they start, see Make: the width of a scan's block.
const Stagger = 4 * scanBlock

// made counts large arrays.
var made atomic.Uint32

// Make returns a zeroed array of n elements. It is make for what kernels stream through: a large one lies in huge pages
// where the operating system grants them, since looking up small ones costs a product more than the arithmetic hides. And
// it does not start where the one made before it did, modulo 2 KiB: the same element of several arrays, which an op wants
// together, would fall into the same set of a cache.
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
