package kernel

// vectorSet contains the vector forms of the elementwise float32 loops; all are nil in the generic set. n must be a
// multiple of vectorStep; apply2 and apply3 accept slices of any length.
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

// vectorStep divides the number of elements that a vector loop processes.
const vectorStep = 16

// hasVectors reports whether slices of T have vector loops: T is float32, and the kernel set is not the generic one.
func hasVectors[T Float]() bool { return is32[T]() && active.vec.add != nil }

// remainder copies the elements of each slice from index from on to a row of 16 and runs f on the rows; the first outs
// rows are copied back. Using the same code for them makes an element's bits independent of its position.
func remainder(from, outs int, f func(row func(i int) *float32), slices ...[]float32) {
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
		remainder(n, 1, func(row func(int) *float32) { f(vectorStep, row(0), row(1)) }, y[:len(x)], x)
	}
}

// apply3 is like apply2, for two inputs.
func apply3(f func(n int, y, a, b *float32), y, a, b []float32) {
	n := len(a) &^ (vectorStep - 1)
	if n > 0 {
		f(n, &y[0], &a[0], &b[0])
	}
	if n < len(a) {
		remainder(n, 1, func(row func(int) *float32) { f(vectorStep, row(0), row(1), row(2)) }, y[:len(a)], a, b)
	}
}
