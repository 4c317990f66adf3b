package kernel

import "unsafe"

// Float is the element type of every generic kernel.
type Float interface{ float32 | float64 }

// is32 reports whether T is float32. The compiler evaluates it as a constant.
func is32[T Float]() bool { var x T; return unsafe.Sizeof(x) == 4 }

// f32s returns x, whose elements must be float32, as []float32.
func f32s[T Float](x []T) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// f32Mat is like f32s, for a Mat.
func f32Mat[T Float](m Mat[T]) Mat[float32] {
	return Mat[float32]{f32s(m.Data), m.Rows, m.Cols, m.Stride}
}
