package kernel

import (
	"os"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	os.Getenv(kernelsVariable) // read in a test so that the test cache records the dependency
	for _, name := range available() {
		if s, err := choose(name); err != nil || s.name != name {
			t.Errorf("%s: got %s, %v", name, s.name, err)
		}
	}
	best, err := choose("")
	if names := available(); err != nil || best.name != names[len(names)-1] {
		t.Errorf("no name: got %s, %v", best.name, err)
	}
	s, err := choose("sse9")
	if err == nil || !strings.Contains(err.Error(), kernelsVariable) || !strings.Contains(err.Error(), "generic") {
		t.Errorf("unknown name: error is %v", err)
	}
	if s != best {
		t.Errorf("unknown name: got %s, want the best set", s.name)
	}
}

func TestPeaks(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		if f := PeakFLOPS(Float32, peakTime); f < 1e8 {
			t.Errorf("float32 peak is %g FLOP/s", f)
		}
		if b := PeakBandwidth(1<<20, peakTime); b < 1e7 {
			t.Errorf("bandwidth is %g bytes/s", b)
		}
	})
}
