//go:build unix

package devicetest

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"mambatrain/autograd/kernel"
)

// memory tracks the arrays of a Device.
type memory struct {
	sync.Mutex
	arrays []array
	limit  int // in elements, 0 for no limit
	used   int
}

// array is a range of inaccessible addresses and the memory behind it.
type array struct {
	reserved []byte
	data     []float32
}

// elements returns the reserved addresses as the slice that users of the device see.
func (a array) elements() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(a.reserved))), len(a.data))
}

// Make reserves addresses that fault on access and allocates memory for them.
func (m *memory) Make(n int) ([]float32, error) {
	m.Lock()
	defer m.Unlock()
	if m.limit > 0 && m.used+n > m.limit {
		return nil, fmt.Errorf("%w: need %d elements, %d of %d are free", kernel.ErrDeviceMemory, n, m.limit-m.used, m.limit)
	}
	reserved, err := syscall.Mmap(-1, 0, max(4*n, 1), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	a := array{reserved, make([]float32, n)}
	m.arrays, m.used = append(m.arrays, a), m.used+n
	return a.elements(), nil
}

// Free releases an array.
func (m *memory) Free(x []float32) {
	m.Lock()
	defer m.Unlock()
	for i, a := range m.arrays {
		if unsafe.SliceData(a.elements()) == unsafe.SliceData(x) {
			m.arrays, m.used = append(m.arrays[:i], m.arrays[i+1:]...), m.used-len(a.data)
			syscall.Munmap(a.reserved)
			return
		}
	}
	panic("devicetest: free: not an array of this device")
}

// Holds reports whether x is part of one of the arrays.
func (m *memory) Holds(x []float32) bool { return m.find(x) != nil }

// find returns the memory behind x, or nil if x does not belong to this device.
func (m *memory) find(x []float32) []float32 {
	m.Lock()
	defer m.Unlock()
	at := uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	for _, a := range m.arrays {
		if from := uintptr(unsafe.Pointer(unsafe.SliceData(a.reserved))); at >= from && at < from+uintptr(4*len(a.data)) {
			i := int(at-from) / 4
			return a.data[i : i+len(x)]
		}
	}
	return nil
}

// host is find for an operand, which may be absent.
func (m *memory) host(x []float32) []float32 {
	if len(x) == 0 {
		return nil
	}
	if h := m.find(x); h != nil {
		return h
	}
	panic("devicetest: an operand is not on the device")
}

func (m *memory) mat(x kernel.Mat[float32]) kernel.Mat[float32] {
	x.Data = m.host(x.Data)
	return x
}
