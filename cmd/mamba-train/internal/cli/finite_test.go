package cli

import (
	"encoding/json"
	"math"
	"testing"
)

// A result can be printed even if its numbers are not finite.
func TestNonFiniteNumbers(t *testing.T) {
	for x, want := range map[Finite]string{1.5: "1.5", Finite(math.Inf(1)): "null", Finite(math.Inf(-1)): "null", Finite(math.NaN()): "null"} {
		got, err := json.Marshal([]Finite{x})
		if err != nil || string(got) != "["+want+"]" {
			t.Errorf("%v: %s, %v, want [%s]", float64(x), got, err, want)
		}
	}
}
