package vulkan

import (
	"testing"
)

// TestSelfTest compares every kernel with its loop in float64, in both kinds of memory.
func TestSelfTest(t *testing.T) {
	onBoth(t, func(t *testing.T, d *Device) {
		for _, c := range SelfTest(d) {
			if t.Logf("%.1e  %s", c.Difference, c.Name); !c.OK {
				t.Errorf("%s: the difference is %.2e, want at most %.0e; error %v", c.Name, c.Difference, differenceLimit, c.Err)
			}
		}
	})
}
