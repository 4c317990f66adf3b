package source

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// checkedMemory fails the test if Arrow memory is left when it ends.
func checkedMemory(t testing.TB) memory.Allocator {
	checked := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { checked.AssertSize(t, 0) })
	return checked
}
