//go:build !linux && !darwin

package kernel

// hasBF16 reports whether the processor is known to multiply in bfloat16: the system does not say.
func hasBF16() bool { return false }

func readCaches() caches { return smallCaches }
