//go:build !linux && !darwin

package kernel

// hasBF16 reports whether the processor is known to multiply in bfloat16: this system is not asked.
func hasBF16() bool { return false }
