package kernel

import "time"

// Format is the number format of a weight.
type Format uint8

const (
	Float32 Format = iota
	BFloat16
)

// PeakFLOPS returns the arithmetic peak in FLOP/s of all threads together. It is measured by running, for about d, an
// arithmetic-only loop of the instruction that the matrix kernels use. On a set without bfloat16 arithmetic, the peak
// for BFloat16 is the float32 peak, since weights are widened there.
func PeakFLOPS(format Format, d time.Duration) float64 {
	burst := active.burst
	return overThreads(d, func() float64 { return burst(format) })
}

// PeakBandwidth returns the bytes per second at which all threads together read a buffer of the given size: the best
// of the passes over it that fit in about d.
func PeakBandwidth(bytes int, d time.Duration) float64 {
	buf := make([]float32, max(bytes/4, 1<<12))
	fill(buf, 1)
	best := 0.0
	grain := max(len(buf)/(4*Threads()), 1<<10)
	for end := time.Now().Add(d); time.Now().Before(end); {
		t := time.Now()
		For(len(buf), grain, func(lo, hi int) { active.sweep(buf[lo:hi]) })
		best = max(best, float64(4*len(buf))/time.Since(t).Seconds())
	}
	return best
}

// overThreads runs burst, which returns the amount of work it did, on every thread for about d. It returns the work
// per second of all threads together in the best tenth of d.
func overThreads(d time.Duration, burst func() float64) float64 {
	best := 0.0
	n := Threads()
	for range 10 {
		done := make([]float64, n)
		start := time.Now()
		runTasks(n, func(i int) {
			for time.Since(start) < d/10 {
				done[i] += burst()
			}
		})
		sum := 0.0
		for _, w := range done {
			sum += w
		}
		best = max(best, sum/time.Since(start).Seconds())
	}
	return best
}

// burstGo is a short loop of independent multiply-adds; it returns the number of operations.
func burstGo(Format) float64 {
	const turns = 4096
	a := [8]float32{1, 2, 3, 4, 5, 6, 7, 8}
	for range turns {
		for j := range a {
			a[j] = a[j]*0.999 + 0.001
		}
	}
	sink(a[0] + a[7])
	return turns * 8 * 2
}

// sweepGo reads every cache line of x.
func sweepGo(x []float32) {
	var s0, s1, s2, s3 float32
	for len(x) >= 64 {
		s0 += x[0]
		s1 += x[16]
		s2 += x[32]
		s3 += x[48]
		x = x[64:]
	}
	sink(s0 + s1 + s2 + s3)
}

//go:noinline
func sink(float32) {}
