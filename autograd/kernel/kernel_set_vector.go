//go:build amd64 || arm64

package kernel

// Code shared by the kernel sets with vector code.

// burstRounds makes a burst take a few microseconds: long compared with a call, short compared with a time slice.
const burstRounds = 1000

// burstOf returns kernelSet.burst from two arithmetic-only loops that perform flops32 or flops16 operations per round.
func burstOf(f32, f16 func(k int), flops32, flops16 float64) func(Format) float64 {
	return func(f Format) float64 {
		if f == BFloat16 {
			f16(burstRounds)
			return burstRounds * flops16
		}
		f32(burstRounds)
		return burstRounds * flops32
	}
}
