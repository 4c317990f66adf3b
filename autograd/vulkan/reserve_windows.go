package vulkan

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// reserve returns n bytes of addresses without memory. Accessing them causes a fault.
func reserve(n int) ([]byte, error) {
	at, err := windows.VirtualAlloc(0, uintptr(n), windows.MEM_RESERVE, windows.PAGE_NOACCESS)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), n), nil
}

// unreserve releases addresses from reserve; nil does nothing.
func unreserve(b []byte) {
	if b != nil {
		_ = windows.VirtualFree(uintptr(unsafe.Pointer(unsafe.SliceData(b))), 0, windows.MEM_RELEASE) // b comes from reserve
	}
}
