//go:build unix

package main

import (
	"runtime"
	"syscall"
)

// peakRSS returns the peak resident memory of the process in bytes.
func peakRSS() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	peak := int64(u.Maxrss)
	if runtime.GOOS != "darwin" && runtime.GOOS != "ios" {
		peak *= 1024 // KiB on all other systems
	}
	return peak
}
