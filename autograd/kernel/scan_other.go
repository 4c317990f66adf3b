//go:build !amd64 && !arm64

package kernel

// No kernel set on this platform has a vector form of the scan.

func runRecurrence(recurrencePass, *scanArgs, int) { panic("kernel: no vector scan") }

func runElementwise(elementwisePass, *scanElementwise) { panic("kernel: no vector scan") }
