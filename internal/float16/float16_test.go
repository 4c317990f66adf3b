package float16_test

import (
	"math"
	"testing"

	"mambatrain/internal/float16"
)

// Every half-precision number rounds to itself, and other values round to the nearest, ties to even.
func TestRounding_isToNearestEven(t *testing.T) {
	for h := range 1 << 16 {
		if f := float16.FromFP16(uint16(h)); f == f && float16.FP16(f) != uint16(h) {
			t.Fatalf("fp16 %#04x widens to %g and rounds to %#04x", h, f, float16.FP16(f))
		}
		if f := float16.FromBF16(uint16(h)); f == f && float16.BF16(f) != uint16(h) {
			t.Fatalf("bf16 %#04x widens to %g and rounds to %#04x", h, f, float16.BF16(f))
		}
	}
	for h := uint16(0); h < 0x7bff; h++ {
		lo, hi := float16.FromFP16(h), float16.FromFP16(h+1)
		even := h + h&1
		if mid := lo + (hi-lo)/2; float16.FP16(mid) != even {
			t.Fatalf("fp16: the midpoint of %#04x and the next number rounds to %#04x", h, float16.FP16(mid))
		}
	}
	if float16.BF16(float32(math.NaN()))&0x7f == 0 || float16.FP16(float32(math.NaN()))&0x3ff == 0 {
		t.Fatal("NaN is lost")
	}
	if float16.FP16(65519) != 0x7bff || float16.FP16(65520) != 0x7c00 {
		t.Fatal("fp16: overflow border")
	}
}
