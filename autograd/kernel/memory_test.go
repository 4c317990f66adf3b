package kernel

import (
	"testing"
	"unsafe"
)

func TestMakeReturnsZeros(t *testing.T) {
	for _, n := range []int{0, 1, largeArray/4 - 1, largeArray / 4, largeArray} {
		x := Make[float32](n)
		if len(x) != n {
			t.Fatalf("length %d, want %d", len(x), n)
		}
		for i, v := range x {
			if v != 0 {
				t.Fatalf("element %d of %d is %v", i, n, v)
			}
		}
		fill(x, 1) // the whole array must be writable
	}
}

func TestMakeStaggersLargeArrays(t *testing.T) {
	at := func() uintptr {
		return uintptr(unsafe.Pointer(unsafe.SliceData(Make[float32](largeArray)))) % (8 * Stagger)
	}
	if a, b := at(), at(); a == b || a%64 != 0 || b%64 != 0 {
		t.Errorf("two arrays start at %d and %d modulo %d", a, b, 8*Stagger)
	}
}
