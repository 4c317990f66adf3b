package kernel

import "unsafe"

// vectorSet holds the vector forms of the elementwise float32 loops, all nil in the generic set. n is a multiple of
// vectorStep everywhere; the functions below see to what is left over.
type vectorSet struct {
	exp, sigmoid, silu, softplus func(n int, y, x *float32)
	add                          func(n int, y, x *float32)                             // y += x
	siluGrad                     func(n int, y, g, x *float32)                          // y = g·silu′(x)
	gate                         func(n int, y, x, z *float32)                          // y = x·silu(z)
	mul, mulAdd                  func(n int, y, a, b *float32)                          // y = a·b, y += a·b
	scaleShift                   func(n int, y, x *float32, k, c float32)               // y = x·k + c
	scaleBy                      func(n int, y, x, w *float32, s float32)               // y = x·s·w
	mulAddScaled                 func(n int, y, a, b *float32, s float32)               // y += a·b·s
	rmsGrad                      func(n int, dx, dy, x, w *float32, s, k float32)       // dx += s·w·dy − k·x
	dot                          func(n int, a, b *float32) float64                     // Σ a·b
	dot3                         func(n int, a, b, c *float32) float64                  // Σ (a·b)·c
	max                          func(n int, x *float32) float32                        //
	expSum                       func(n int, x *float32, shift float32) float32         // Σ exp(x − shift)
	expSumStore                  func(n int, e, x *float32, shift float32) float32      // the same, and e = exp(x − shift)
	conv4                        func(n int, y, b, w, x0, x1, x2, x3 *float32, ldw int) // y = b + Σ_j w_j·x_j
	convGrad4                    func(n int, g, w, x0, x1, x2, x3 *float32, ldw int)    // w_j += g·x_j
	step16                       func(d int, y, h, alog, delta, in, b, c *float32)      // see scan_vector.go
	adamw                        func(n int, w, g, m, v, k *float32)                    // see adamw.go

}

// vectorStep is the number of elements of which vector loops take multiples.
const vectorStep = 16

// f32s views x, whose elements must be float32, as what it is.
func f32s[T Float](x []T) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// f32Mat is f32s for views.
func f32Mat[T Float](m Mat[T]) Mat[float32] {
	return Mat[float32]{f32s(m.Data), m.Rows, m.Cols, m.Stride}
}

// spare copies the last few elements of each slice to a row of 16 and runs f on the rows; the first outs rows are copied
// back. Going through the same code keeps an element's bits independent of where it lies.
func spare(from, outs int, f func(row func(i int) *float32), slices ...[]float32) {
	buf := borrow(vectorStep * len(slices))
	defer giveBack(buf)
	clear(buf.data)
	for i, s := range slices {
		copy(buf.data[i*vectorStep:], s[from:])
	}
	f(func(i int) *float32 { return &buf.data[i*vectorStep] })
	for i, s := range slices[:outs] {
		copy(s[from:], buf.data[i*vectorStep:])
	}
}

// apply2 runs f over slices of any length, y = f(x) or y = f(y, x).
func apply2(f func(n int, y, x *float32), y, x []float32) {
	n := len(x) &^ (vectorStep - 1)
	if n > 0 {
		f(n, &y[0], &x[0])
	}
	if n < len(x) {
		spare(n, 1, func(row func(int) *float32) { f(vectorStep, row(0), row(1)) }, y[:len(x)], x)
	}
}

// apply3 is apply2 for two inputs.
func apply3(f func(n int, y, a, b *float32), y, a, b []float32) {
	n := len(a) &^ (vectorStep - 1)
	if n > 0 {
		f(n, &y[0], &a[0], &b[0])
	}
	if n < len(a) {
		spare(n, 1, func(row func(int) *float32) { f(vectorStep, row(0), row(1), row(2)) }, y[:len(a)], a, b)
	}
}

// dot returns Σ a·b in float64.
func dot[T Float](a, b []T) float64 {
	if f := active.vec.dot; f != nil && is32[T]() {
		return dot32(f, f32s(a), f32s(b))
	}
	var s float64
	b = b[:len(a)]
	for i, v := range a {
		s += float64(v) * float64(b[i])
	}
	return s
}

func dot32(f func(n int, a, b *float32) float64, a, b []float32) (s float64) {
	n := len(a) &^ (vectorStep - 1)
	if n > 0 {
		s = f(n, &a[0], &b[0])
	}
	for i := n; i < len(a); i++ {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

// maxOf returns the largest element of x.
func maxOf[T Float](x []T) T {
	if f := active.vec.max; f != nil && is32[T]() && len(x) >= vectorStep {
		y := f32s(x)
		n := len(y) &^ (vectorStep - 1)
		// The last vector may overlap the one before.
		return T(max(f(n, &y[0]), f(vectorStep, &y[len(y)-vectorStep])))
	}
	top := x[0]
	for _, v := range x {
		top = max(top, v)
	}
	return top
}

// sumStep is how many exponentials are summed in float32 lanes before they go into a float64.
const sumStep = 1024

// expSum returns Σ exp(x−shift) and, if e is not nil, stores the terms in it.
func expSum[T Float](e, x []T, shift T) (sum float64) {
	if active.vec.expSum != nil && is32[T]() {
		return expSum32(f32s(e), f32s(x), float32(shift))
	}
	for i, v := range x {
		p := exp(v - shift)
		sum += float64(p)
		if e != nil {
			e[i] = p
		}
	}
	return sum
}

func expSum32(e, x []float32, shift float32) (sum float64) {
	whole := len(x) &^ (vectorStep - 1)
	for i := 0; i < whole; i += sumStep {
		n := min(sumStep, whole-i)
		if len(e) == 0 {
			sum += float64(active.vec.expSum(n, &x[i], shift))
		} else {
			sum += float64(active.vec.expSumStore(n, &e[i], &x[i], shift))
		}
	}
	for i := whole; i < len(x); i++ {
		p := exp32(x[i] - shift)
		sum += float64(p)
		if len(e) != 0 {
			e[i] = p
		}
	}
	return sum
}

// scaleShift writes x = x·k + c.
func scaleShift[T Float](x []T, k, c T) {
	if f := active.vec.scaleShift; f != nil && is32[T]() {
		g := func(n int, y, x *float32) { f(n, y, x, float32(k), float32(c)) }
		apply2(g, f32s(x), f32s(x))
		return
	}
	for i := range x {
		x[i] = x[i]*k + c
	}
}

// add writes y += x.
func add[T Float](y, x []T) {
	if f := active.vec.add; f != nil && is32[T]() {
		apply2(f, f32s(y), f32s(x))
		return
	}
	y = y[:len(x)]
	for i, v := range x {
		y[i] += v
	}
}
