//go:build !linux

package recipe

// MachineMemory returns the memory that this process may use, in bytes, or 0 if unknown, as on this system.
func MachineMemory() int64 { return 0 }
