package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of the pages that advise asks for.
const hugePage = 2 << 20

// advise asks for huge pages under [p, p+bytes) and the rest of the pages at its ends, before they are first touched. A
// refusal costs speed only.
func advise(p unsafe.Pointer, bytes int) {
	at := uintptr(p)
	head := at % hugePage
	size := (uintptr(bytes) + head + hugePage - 1) &^ (hugePage - 1)
	unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(p, -int(head))), size), unix.MADV_HUGEPAGE)
}
