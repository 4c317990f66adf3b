package source

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// checkedMemory returns an allocator that fails the test if Arrow memory has not been freed at its end.
func checkedMemory(t testing.TB) memory.Allocator {
	checked := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { checked.AssertSize(t, 0) })
	return checked
}
