//go:build !linux

package recipe

// MachineMemory returns the memory that this process may use in bytes; 0: unknown on this system.
func MachineMemory() int64 { return 0 }
