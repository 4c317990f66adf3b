package main

import (
	"runtime"
)

// peakRSS returns the memory that the process has obtained from the system, in bytes.
func peakRSS() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
