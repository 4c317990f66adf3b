//go:build !linux

package main

// machineMemory returns the memory that this process may use in bytes; 0: unknown on this system.
func machineMemory() int64 { return 0 }
