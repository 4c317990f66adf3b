package kernel

import "mambatrain/internal/float16"

// ToBF16 writes x, rounded to bfloat16, to h.
func ToBF16(h []uint16, x []float32) {
	For(len(x), elementGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			h[i] = float16.BF16(x[i])
		}
	})
}

// WidenBF16 writes the float32 values of h to x.
func WidenBF16(x []float32, h []uint16) {
	For(len(h), elementGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			x[i] = float16.FromBF16(h[i])
		}
	})
}

// ToFP16 writes x, rounded to IEEE half precision, to h.
func ToFP16(h []uint16, x []float32) {
	For(len(x), elementGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			h[i] = float16.FP16(x[i])
		}
	})
}

// WidenFP16 writes the float32 values of h to x.
func WidenFP16(x []float32, h []uint16) {
	For(len(h), elementGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			x[i] = float16.FromFP16(h[i])
		}
	})
}
