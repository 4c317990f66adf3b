// Package mappedfile maps files into memory: pages are read when first touched, and the system drops them when memory
// is short. On systems where files cannot be mapped they are read.
//
// If a file is truncated while it is mapped, reading the missing pages faults, which ends a Go program with a stack
// trace. Goroutines that read mapped memory therefore call [debug.SetPanicOnFault], and whoever recovers their panics
// calls [Explain] to learn which file it was.
package mappedfile

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"unsafe"
)

// Mapping is a mapped file.
type Mapping struct {
	// Bytes contains the file's contents. It must not be changed, nor read after Close.
	Bytes []byte
	path  string
}

// mappings contains the open mappings.
var mappings struct {
	sync.Mutex
	list []*Mapping
}

// Map maps a file at its current length. The mapping outlives the open file and its name.
func Map(f *os.File) (*Mapping, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m := &Mapping{path: f.Name()}
	size := int(info.Size())
	if int64(size) != info.Size() || size < 0 {
		return nil, fmt.Errorf("%s: %d bytes exceed the address space of this system", m.path, info.Size())
	}
	if size > 0 {
		if m.Bytes, err = mapFile(f, size); err != nil {
			return nil, fmt.Errorf("%s: %w", m.path, err)
		}
	}
	mappings.Lock()
	defer mappings.Unlock()
	mappings.list = append(mappings.list, m)
	return m, nil
}

// Open maps the file at path.
func Open(path string) (*Mapping, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Map(f)
}

// Close removes the mapping.
func (m *Mapping) Close() error {
	mappings.Lock()
	defer mappings.Unlock()
	mappings.list = slices.DeleteFunc(mappings.list, func(other *Mapping) bool { return other == m })
	b := m.Bytes
	if m.Bytes = nil; len(b) == 0 {
		return nil
	}
	return unmap(b)
}

// contains reports whether an address is in the mapping.
func (m *Mapping) contains(address uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(m.Bytes)))
	return address >= start && address-start < uintptr(len(m.Bytes))
}

// Explain returns an error naming the file if recovered is the panic of a read of mapped memory, and nil otherwise.
func Explain(recovered any) error {
	fault, ok := recovered.(interface {
		error
		Addr() uintptr
	})
	if !ok {
		return nil
	}
	mappings.Lock()
	defer mappings.Unlock()
	for _, m := range mappings.list {
		if m.contains(fault.Addr()) {
			return fmt.Errorf("%s: the file shrank, or its disk failed, while it was in use: restore the file and start again", m.path)
		}
	}
	return nil
}
