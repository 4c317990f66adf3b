package main

import "testing"

// However busy the machine is, no product runs faster than what is printed as the peak.
func TestDoctorPeakIsAbove(t *testing.T) {
	var r doctorResult
	if faults := r.checkKernels(); len(faults) > 0 {
		t.Error(faults)
	}
	for _, k := range r.Kernels {
		if k.Unit == gigaflops && k.Rate > r.GFLOPS {
			t.Errorf("%s ran at %.0f GFLOP/s, the peak is %.0f", k.Name, k.Rate, r.GFLOPS)
		}
	}
	if r.GFLOPS16 < r.GFLOPS || r.Bandwidth <= 0 {
		t.Errorf("peaks %v and %v GFLOP/s, %v bytes/s", r.GFLOPS, r.GFLOPS16, r.Bandwidth)
	}
}
