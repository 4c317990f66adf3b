//go:build !linux && !darwin

package kernel

// hasBF16 returns false: this system offers no way to find out.
func hasBF16() bool { return false }
