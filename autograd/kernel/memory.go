package kernel

import "unsafe"

// largeArray is from how many bytes on an array gets huge pages.
const largeArray = 1 << 20

// Make returns a zeroed array of n elements. It is make for what kernels stream through: a large one lies in huge pages
// where the operating system grants them, since looking up small ones costs a product more than the arithmetic hides.
func Make[E any](n int) []E {
	x := make([]E, n)
	var e E
	if bytes := n * int(unsafe.Sizeof(e)); bytes >= largeArray {
		advise(unsafe.Pointer(unsafe.SliceData(x)), bytes)
	}
	return x
}
