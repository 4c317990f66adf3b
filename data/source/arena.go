package source

import (
	"sync"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// An arena tracks what a Parquet reader has allocated, and finally frees what the reader left behind: arrow's decoders
// keep scratch memory, and its error paths leave half-built arrays. It lives as long as the reader and its blocks.
type arena struct {
	memory.Allocator
	mu    sync.Mutex
	users int
	live  map[*byte][]byte
}

// newArena returns an arena with one user.
func newArena(m memory.Allocator) *arena {
	return &arena{Allocator: m, users: 1, live: map[*byte][]byte{}}
}

func (a *arena) Allocate(size int) []byte {
	b := a.Allocator.Allocate(size)
	a.track(b)
	return b
}

func (a *arena) Reallocate(size int, b []byte) []byte {
	a.forget(b)
	b = a.Allocator.Reallocate(size, b)
	a.track(b)
	return b
}

func (a *arena) Free(b []byte) {
	a.forget(b)
	a.Allocator.Free(b)
}

func (a *arena) track(b []byte) {
	if cap(b) > 0 {
		a.mu.Lock()
		a.live[unsafe.SliceData(b)] = b
		a.mu.Unlock()
	}
}

func (a *arena) forget(b []byte) {
	if cap(b) > 0 {
		a.mu.Lock()
		delete(a.live, unsafe.SliceData(b))
		a.mu.Unlock()
	}
}

func (a *arena) retain() {
	a.mu.Lock()
	a.users++
	a.mu.Unlock()
}

// release frees the remaining memory when the last user is done.
func (a *arena) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users--; a.users > 0 {
		return
	}
	for _, b := range a.live {
		a.Allocator.Free(b)
	}
	clear(a.live)
}
