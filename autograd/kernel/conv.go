package kernel

// Conv is a causal depthwise convolution along the row axis, followed by an activation:
//
//	y(t, c) = act(bias(c) + Σ_j w(c, j)·x(t−k+1+j, c)),   j = 0 … k−1
//
// where taps before the first row of t's document are zero. x and y are (rows, d).
//
// first[t] is the first row of row t's document; nil means one document starting at row 0. A negative first[t] = −n
// means that the document began n rows before this batch. For such a document, taps before row 0 come from carry (k−1,
// d), the k−1 rows before the batch, oldest first. A nil carry means zeros.
type Conv[T Float] struct {
	W    []T // (d, k)
	Bias []T // (d), or nil
	K    int
	Act  Activation
}

// ConvGrad contains the destinations to which Conv.Backward adds gradients. A zero or nil one is not needed.
type ConvGrad[T Float] struct {
	X       Mat[T] // (rows, d)
	W, Bias []T    // (d, k), (d)
	Carry   []T    // (k−1, d)
}

// convGrain is the number of channels per task; every task processes all rows.
const convGrain = 64

// Forward writes the convolution of x to y. y must not overlap x.
func (c Conv[T]) Forward(y, x Mat[T], first []int, carry []T) {
	y.check("conv y", x.Rows, x.Cols)
	if d := on(y); d != nil {
		d.Conv(any(c).(Conv[float32]), f32Mat(y), f32Mat(x), first, f32s(carry))
		return
	}
	in := newConvInput(c.K, x, first, carry)
	done := 0 // channels
	if v, ok := c.vector(); ok {
		done = x.Cols &^ (vectorStep - 1)
		k := convWork{Conv: v, convInput: in.as32(), y: f32Mat(y), n: done}
		k.run(k.forward)
	}
	For(x.Cols-done, convGrain, func(lo, hi int) {
		lo, hi = lo+done, hi+done
		c.channels(lo, hi).forwardRef(y.Slice(0, y.Rows, lo, hi), in.channels(lo, hi))
	})
}

// Tail writes the last k−1 inputs of the last document, with zeros where it is shorter, to carryOut (k−1, d), the
// carry for the batch that continues it. carryOut may be carry.
func (c Conv[T]) Tail(carryOut []T, x Mat[T], first []int, carry []T) {
	if d := onSlice(carryOut); d != nil {
		d.ConvTail(any(c).(Conv[float32]), f32s(carryOut), f32Mat(x), first, f32s(carry))
		return
	}
	in, d := newConvInput(c.K, x, first, carry), x.Cols
	start := 1 - c.K // no rows: the carry is unchanged
	if x.Rows > 0 {
		start = firstRow(first, x.Rows-1)
	}
	for i := range c.K - 1 { // ascending: a row of carry is read before it is overwritten
		dst := carryOut[i*d : (i+1)*d]
		if row := in.row(x.Rows-c.K+1+i, start); row != nil {
			copy(dst, row)
		} else {
			clear(dst)
		}
	}
}

// Backward adds the gradients to g: those of Forward at dy (rows, d) and those of Tail at dTail (k−1, d), which may be
// nil. It recomputes the pre-activation from x.
func (c Conv[T]) Backward(g ConvGrad[T], dy, x Mat[T], first []int, carry, dTail []T) {
	dy.check("conv dy", x.Rows, x.Cols)
	if d := on(dy); d != nil {
		d.ConvGrad(any(c).(Conv[float32]), any(g).(ConvGrad[float32]), f32Mat(dy), f32Mat(x), first, f32s(carry), f32s(dTail))
		return
	}
	in := newConvInput(c.K, x, first, carry)
	if g.Carry != nil {
		c.carryGradRef(g.Carry, dy, in)
	}
	if dTail != nil {
		g.tailGradRef(dTail, in)
	}
	done := 0 // channels
	if v, ok := c.vector(); ok {
		done = x.Cols &^ (vectorStep - 1)
		k := convWork{Conv: v, convInput: in.as32(), dx: f32Mat(g.X), dy: f32Mat(dy), n: done}
		k.runBackward(f32s(g.W), f32s(g.Bias))
	}
	For(x.Cols-done, convGrain, func(lo, hi int) {
		lo, hi = lo+done, hi+done
		c.channels(lo, hi).backwardRef(g.channels(lo, hi, c.K), dy.Slice(0, dy.Rows, lo, hi), in.channels(lo, hi))
	})
}

// Step convolves one new input row for each sequence in a batch. x and y are (batch, d). taps (batch, k−1, d), the
// preceding inputs, oldest first, is shifted in place.
func (c Conv[T]) Step(y, x Mat[T], taps []T) {
	d, n := x.Cols, (c.K-1)*x.Cols
	y.check("conv y", x.Rows, d)
	For(x.Rows, 1, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			c.stepRef(y.Row(b), x.Row(b), taps[b*n:(b+1)*n])
			activateSlice(c.Act, y.Row(b), y.Row(b))
		}
	})
}

// channels returns the convolution of channels [lo, hi).
func (c Conv[T]) channels(lo, hi int) Conv[T] {
	c.W = c.W[lo*c.K : hi*c.K]
	if c.Bias != nil {
		c.Bias = c.Bias[lo:hi]
	}
	return c
}

// channels returns the gradients of channels [lo, hi) of a convolution of width k.
func (g ConvGrad[T]) channels(lo, hi, k int) ConvGrad[T] {
	if !g.X.Absent() {
		g.X = g.X.Slice(0, g.X.Rows, lo, hi)
	}
	if g.W != nil {
		g.W = g.W[lo*k : hi*k]
	}
	if g.Bias != nil {
		g.Bias = g.Bias[lo:hi]
	}
	return g
}

// taps sets rows to the gradients of the k input rows that row t reads, nil where there is no gradient to add to.
func (g ConvGrad[T]) taps(rows [][]T, t int, in convInput[T]) {
	for j := range rows {
		rows[j] = nil
		if s := t - in.k + 1 + j; !g.X.Absent() && s >= 0 && s >= firstRow(in.first, t) {
			rows[j] = g.X.Row(s)
		}
	}
}

// convInput is the input rows that a convolution reads.
type convInput[T Float] struct {
	k     int
	x     Mat[T] // (rows, d)
	first []int
	carry Mat[T] // (k−1, d), or zero
}

func newConvInput[T Float](k int, x Mat[T], first []int, carry []T) convInput[T] {
	in := convInput[T]{k: k, x: x, first: first}
	if carry != nil {
		in.carry = Dense(carry, k-1, x.Cols)
	}
	return in
}

func (in convInput[T]) channels(lo, hi int) convInput[T] {
	in.x = in.x.Slice(0, in.x.Rows, lo, hi)
	if !in.carry.Absent() {
		in.carry = in.carry.Slice(0, in.k-1, lo, hi)
	}
	return in
}

func (in convInput[T]) as32() convInput[float32] {
	return convInput[float32]{in.k, f32Mat(in.x), in.first, f32Mat(in.carry)}
}

// row returns input row t as seen by a row whose document starts at row start; nil means zeros.
func (in *convInput[T]) row(t, start int) []T {
	switch {
	case t < start:
		return nil
	case t >= 0:
		return in.x.Row(t)
	case in.carry.Absent() || t < 1-in.k:
		return nil
	}
	return in.carry.Row(in.k - 1 + t)
}

// taps sets rows to the k input rows that row t reads, oldest first.
func (in *convInput[T]) taps(rows [][]T, t int) {
	for j := range rows {
		rows[j] = in.row(t-in.k+1+j, firstRow(in.first, t))
	}
}
