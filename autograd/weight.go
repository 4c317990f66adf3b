package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// A weight is multiplied in one of two forms. A frozen float32 or bfloat16 weight is packed once for the kernels. A
// trainable weight, or one in double precision, is used in its original layout.

// checkProjection returns an error if the shapes of x (rows, in) and w (out, in) do not match.
func checkProjection(x, w []int) error {
	if len(x) != 2 || len(w) != 2 || x[1] != w[1] {
		return fmt.Errorf("x is %v, w is %v: inner sizes differ", x, w)
	}
	return nil
}

// project computes y = x·Wᵀ + bias for w (out, in). The bias may be nil.
func project[T kernel.Float](y, x kernel.Mat[T], w Array[T], bias []T) {
	p := packed[T](w)
	switch {
	case p != nil && bias != nil:
		p.ForwardBias(f32(y), f32(x), any(bias).([]float32))
		return
	case p != nil:
		p.Forward(kernel.Set, f32(y), f32(x))
		return
	}
	kernel.MatMulNT(kernel.Set, y, 1, x, w.Mat())
	if bias != nil {
		kernel.AddRow(y, bias)
	}
}

// projectBack computes dx (+)= dy·W for w (out, in).
func projectBack[T kernel.Float](mode kernel.Mode, dx, dy kernel.Mat[T], w Array[T]) {
	if p := packed[T](w); p != nil {
		p.Backward(mode, f32(dx), f32(dy))
		return
	}
	kernel.MatMulNN(mode, dx, 1, dy, w.Mat())
}

func packed[T kernel.Float](w Array[T]) *kernel.Packed {
	var z T
	if _, f32 := any(z).(float32); !f32 || w.Param == nil || w.Param.Trainable() {
		return nil
	}
	if w.onDevice {
		return w.Param.copied.packed
	}
	return w.Param.Packed()
}

// f32 converts the type of a matrix that is known to be float32, for code with a packed weight.
func f32[T kernel.Float](m kernel.Mat[T]) kernel.Mat[float32] { return any(m).(kernel.Mat[float32]) }
