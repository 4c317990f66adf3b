package recipe

import (
	"testing"
)

// The parameters of the published sizes, as their files have them.
func TestEstimatedParameters(t *testing.T) {
	for size, want := range map[string]int{"130m": 129_135_360, "370m": 371_516_416, "790m": 793_204_224, "1.4b": 1_372_178_432, "2.8b": 2_768_345_600} {
		c := Default()
		sizes, err := Sizes("state-spaces/mamba-" + size + "-hf")
		if err != nil {
			t.Fatal(err)
		}
		r, err := outline(&c, sizes)
		if err != nil {
			t.Fatal(err)
		}
		if all, trainable := r.size(); all != want || trainable != want {
			t.Errorf("%s: %d parameters, %d trainable, want %d", size, all, trainable, want)
		}
	}
	c := Default()
	c.LoRA = DefaultLoRA()
	sizes, err := Sizes("mamba-130m")
	if err != nil {
		t.Fatal(err)
	}
	r, err := outline(&c, sizes)
	if err != nil {
		t.Fatal(err)
	}
	if _, trainable := r.size(); trainable != 1_898_304 {
		t.Errorf("LoRA trains %d, want 1898304", trainable)
	}
}
