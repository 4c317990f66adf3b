package lora

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// A merge is verified with a probe: the adapted and the merged model process the same tokens, and their logits are
// compared.
const (
	// ProbeTokens is the minimum number of tokens in a probe.
	ProbeTokens = 64
	// ProbeLimit is the largest difference between logits at which a merge in float32 is considered correct. Rounding
	// errors are far smaller.
	ProbeLimit = 1e-3
)

// ProbeIDs returns n token ids less than vocabulary, the same on every call.
func ProbeIDs(vocabulary, n int) []int {
	r := rand.New(rand.NewPCG(1, 2))
	ids := make([]int, n)
	for i := range ids {
		ids[i] = r.IntN(vocabulary)
	}
	return ids
}

// LargestDifference returns the largest absolute difference between the logits of two models. It is infinite if any
// logit is NaN.
func LargestDifference(x, y []float32) (float64, error) {
	if len(x) != len(y) {
		return 0, fmt.Errorf("lora: probe: %d logits versus %d: the models have different vocabularies", len(x), len(y))
	}
	largest := 0.0
	for i := range x {
		d := math.Abs(float64(x[i]) - float64(y[i]))
		if math.IsNaN(d) {
			return math.Inf(1), nil
		}
		largest = max(largest, d)
	}
	return largest, nil
}
