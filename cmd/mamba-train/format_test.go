package main

import (
	"encoding/json"
	"math"
	"testing"
)

func TestCounted(t *testing.T) {
	for want, got := range map[string]string{"1 batch": counted(1, "batch"), "2 batches": counted(2, "batch"), "3 epochs": counted(3, "epoch"), "1,000 rows": counted(1000, "row")} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A result is printed whatever its numbers are.
func TestNumbersThatAreNotFinite(t *testing.T) {
	for x, want := range map[finite]string{1.5: "1.5", finite(math.Inf(1)): "null", finite(math.Inf(-1)): "null", finite(math.NaN()): "null"} {
		got, err := json.Marshal([]finite{x})
		if err != nil || string(got) != "["+want+"]" {
			t.Errorf("%v: %s, %v, want [%s]", float64(x), got, err, want)
		}
	}
	if _, err := json.Marshal(losses{nll: 1000, tokens: 1, rows: []rowLoss{{NLL: finite(math.NaN())}}}.result()); err != nil {
		t.Error("an evaluation whose perplexity overflows:", err)
	}
}
