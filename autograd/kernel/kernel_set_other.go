//go:build !amd64 && !arm64

package kernel

// machineSets lists the vector kernel sets of this processor, slowest first: none here.
func machineSets() []*kernelSet { return nil }

// pause would tell the processor that this is a spin loop.
func pause() {}
