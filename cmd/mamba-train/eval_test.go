package main

import (
	"encoding/json"
	"math"
	"testing"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer/recipe"
)

// An evaluation can be printed even if its perplexity overflows.
func TestNonFiniteEvaluation(t *testing.T) {
	for _, v := range []any{resultOf(recipe.Evaluation{NLL: 1000, Tokens: 1}), rowLoss{NLL: cli.Finite(math.NaN())}} {
		if _, err := json.Marshal(v); err != nil {
			t.Error(err)
		}
	}
}
