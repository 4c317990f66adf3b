package kernel

import (
	"testing"
	"time"
)

// However busy the machine is, no product is reported as faster than the peak.
func TestSelfTest(t *testing.T) {
	r := SelfTest(time.Millisecond, 1<<20)
	for _, c := range r.Checks {
		if !c.OK {
			t.Errorf("%s differs from its plain loop by %.2g", c.Name, c.Difference)
		}
		if c.Unit == gigaflops && c.Rate*1e9 > r.FLOPS {
			t.Errorf("%s ran at %.0f GFLOP/s, the peak is %.0f", c.Name, c.Rate, r.FLOPS/1e9)
		}
	}
	if len(r.Checks) == 0 || r.FLOPSBF16 < r.FLOPS || r.Bandwidth <= 0 {
		t.Errorf("%d checks, peaks %g and %g FLOP/s, %g bytes/s", len(r.Checks), r.FLOPS, r.FLOPSBF16, r.Bandwidth)
	}
}
