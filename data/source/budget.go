package source

import (
	"fmt"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"mambatrain/internal/format"
)

// A budget limits what Arrow's readers, which trust the lengths in a file, may allocate for one block.
type budget struct {
	memory.Allocator
	size int64 // of the file
	max  int64
	used atomic.Int64 // since the last call of begin
}

// newBudget returns the budget for a file of the given size: room for several rows of maximum length, and for usual
// compression ratios.
func newBudget(m memory.Allocator, f *File, size int64) *budget {
	const rows, ratio = 16, 64
	return &budget{Allocator: m, size: size, max: max(rows*int64(f.maxRow()), ratio*size)}
}

// begin starts a new block.
func (b *budget) begin() { b.used.Store(0) }

// overBudget is the panic value for an allocation that is too large: Arrow's allocator interface cannot return errors.
type overBudget string

func (e overBudget) Error() string { return string(e) }

func (b *budget) take(n int) {
	if n < 0 || b.used.Add(int64(n)) > b.max {
		panic(overBudget(fmt.Sprintf("a block of rows needs more than %v: the file is damaged, or data.max_row_bytes is too small for it", format.Bytes(b.max))))
	}
}

func (b *budget) Allocate(size int) []byte {
	b.take(size)
	return b.Allocator.Allocate(size)
}

func (b *budget) Reallocate(size int, p []byte) []byte {
	b.take(size - min(size, len(p)))
	return b.Allocator.Reallocate(size, p)
}

func (b *budget) Free(p []byte) {
	b.used.Add(-int64(len(p)))
	b.Allocator.Free(p)
}
