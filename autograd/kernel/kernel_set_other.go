//go:build !amd64 && !arm64

package kernel

// machineSets returns nil: there are no vector kernel sets on this platform.
func machineSets() []*kernelSet { return nil }

// pause does nothing; on other platforms it tells the processor that this is a spin loop.
func pause() {}
