package vk

import (
	"fmt"

	"mambatrain/internal/sharedlib"
)

// Result is a VkResult other than VK_SUCCESS.
type Result int32

// Results that callers distinguish.
const (
	Timeout           Result = 2
	OutOfHostMemory   Result = -1
	OutOfDeviceMemory Result = -2
	DeviceLost        Result = -4
)

var resultNames = map[Result]string{
	1: "not ready", Timeout: "timeout", OutOfHostMemory: "out of host memory", OutOfDeviceMemory: "out of device memory",
	-3: "initialization failed", DeviceLost: "device lost", -5: "memory map failed", -6: "layer not present",
	-7: "extension not present", -8: "feature not present", -9: "incompatible driver", -10: "too many objects", -13: "unknown error",
}

func (r Result) Error() string {
	if n := resultNames[r]; n != "" {
		return n
	}
	return fmt.Sprintf("VkResult %d", int32(r))
}

// call makes a call that returns a VkResult.
//
//go:uintptrescapes
func call(name string, f uintptr, args ...uintptr) error {
	if r := Result(int32(sharedlib.Call(f, args...))); r != 0 {
		return fmt.Errorf("%s: %w", name, r)
	}
	return nil
}

// entry is a function to look up and the variable for its address.
type entry struct {
	name string
	at   *uintptr
}

// bind looks up all entries.
func bind(entries []entry, lookup func(name string) uintptr) error {
	for _, e := range entries {
		if *e.at = lookup(e.name); *e.at == 0 {
			return fmt.Errorf("the driver has no %s", e.name)
		}
	}
	return nil
}
