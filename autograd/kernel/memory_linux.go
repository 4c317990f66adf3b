package kernel

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of the pages that advise asks for.
const hugePage = 2 << 20

// advise asks for huge pages for [p, p+bytes), before they are first touched. A refusal costs only speed. The pages
// extend past the array, so their addresses are plain numbers here: a slice of them would not be within one
// allocation, and the race detector would end the program.
func advise(p unsafe.Pointer, bytes int) {
	at := uintptr(p)
	head := at % hugePage
	size := (uintptr(bytes) + head + hugePage - 1) &^ (hugePage - 1)
	unix.Syscall(unix.SYS_MADVISE, at-head, size, unix.MADV_HUGEPAGE)
	runtime.KeepAlive(p)
}
