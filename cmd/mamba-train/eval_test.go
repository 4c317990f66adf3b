package main

import (
	"encoding/json"
	"math"
	"testing"

	"mambatrain/cmd/mamba-train/internal/cli"
)

// An evaluation whose perplexity overflows is printed.
func TestEvaluationThatIsNotFinite(t *testing.T) {
	if _, err := json.Marshal(losses{nll: 1000, tokens: 1, rows: []rowLoss{{NLL: cli.Finite(math.NaN())}}}.result()); err != nil {
		t.Error(err)
	}
}
