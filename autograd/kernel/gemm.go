package kernel

// MatMulNT computes c (m, n) = alpha·a (m, k)·b (n, k)ᵀ, or adds it to c: the forward pass of a linear layer, where a
// is the activations and b the weight (out, in).
func MatMulNT[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	b.check("b of a·bᵀ", b.Rows, a.Cols)
	c.check("c of a·bᵀ", a.Rows, b.Rows)
	if d := on(c); d != nil {
		d.Multiply(DeviceProduct{Mode: mode, C: f32Mat(c), A: f32Mat(a), B: f32Mat(b), Alpha: float32(alpha), TransposeB: true})
		return
	}
	if c32, a32, b32, ok := as32Mats(c, a, b); ok {
		p := product{mode: mode, c: c32, a: left{mat: a32, alpha: float32(alpha)}, b: transposedRight{b32}, m: a.Rows, n: b.Rows, k: a.Cols}
		p.run()
		return
	}
	For(c.Rows, matmulGrain, func(lo, hi int) {
		matMulNTRef(mode, c.Slice(lo, hi, 0, c.Cols), alpha, a.Slice(lo, hi, 0, a.Cols), b)
	})
}

// MatMulNN computes c (m, n) = alpha·a (m, k)·b (k, n), or adds it to c: the input gradient of a linear layer, dx = dy·W.
func MatMulNN[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	b.check("b of a·b", a.Cols, b.Cols)
	c.check("c of a·b", a.Rows, b.Cols)
	if d := on(c); d != nil {
		d.Multiply(DeviceProduct{Mode: mode, C: f32Mat(c), A: f32Mat(a), B: f32Mat(b), Alpha: float32(alpha)})
		return
	}
	if c32, a32, b32, ok := as32Mats(c, a, b); ok {
		p := product{mode: mode, c: c32, a: left{mat: a32, alpha: float32(alpha)}, b: rightOf(b32, a.Rows), m: a.Rows, n: b.Cols, k: a.Cols}
		p.run()
		return
	}
	For(c.Rows, matmulGrain, func(lo, hi int) {
		matMulNNRef(mode, c.Slice(lo, hi, 0, c.Cols), alpha, a.Slice(lo, hi, 0, a.Cols), b)
	})
}

// MatMulTN computes c (m, n) = alpha·a (k, m)ᵀ·b (k, n), or adds it to c: the weight gradient of a linear layer, dW = dyᵀ·x.
func MatMulTN[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	b.check("b of aᵀ·b", a.Rows, b.Cols)
	c.check("c of aᵀ·b", a.Cols, b.Cols)
	if d := on(c); d != nil {
		d.Multiply(DeviceProduct{Mode: mode, C: f32Mat(c), A: f32Mat(a), B: f32Mat(b), Alpha: float32(alpha), TransposeA: true})
		return
	}
	if c32, a32, b32, ok := as32Mats(c, a, b); ok {
		productTN(mode, c32, float32(alpha), a32, b32)
		return
	}
	For(c.Rows, matmulGrain, func(lo, hi int) {
		matMulTNRef(mode, c.Slice(lo, hi, 0, c.Cols), alpha, a.Slice(0, a.Rows, lo, hi), b)
	})
}

// as32Mats returns the operands as float32 and reports whether they are float32.
func as32Mats[T Float](c, a, b Mat[T]) (c32, a32, b32 Mat[float32], ok bool) {
	if c32, ok = any(c).(Mat[float32]); ok {
		a32, b32 = any(a).(Mat[float32]), any(b).(Mat[float32])
	}
	return
}

// rightOf returns b as the right operand of a product with this many rows.
func rightOf(b Mat[float32], rows int) right {
	if rows <= 2*active.height && b.Cols%16 == 0 {
		return directRight{b}
	}
	return plainRight{b}
}

// skinny is the number of columns up to which aᵀ·b is computed as (bᵀ·a)ᵀ, because tiles are wider than they are high.
const skinny = 16

// productTN is MatMulTN in float32.
func productTN(mode Mode, c Mat[float32], alpha float32, a, b Mat[float32]) {
	if b.Cols > skinny || a.Cols <= b.Cols {
		p := product{mode: mode, c: c, a: left{mat: a, transposed: true, alpha: alpha}, b: rightOf(b, a.Cols), m: a.Cols, n: b.Cols, k: a.Rows}
		p.run()
		return
	}
	buf := borrow(b.Cols * a.Cols)
	defer giveBack(buf)
	t := Dense(buf.data, b.Cols, a.Cols)
	productTN(Set, t, alpha, b, a)
	For(c.Rows, columnGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			ci := c.Row(i)
			for j := range ci {
				put(mode, &ci[j], t.Data[j*t.Stride+i])
			}
		}
	})
}

// matmulGrain is the number of rows of c per task of the plain loops.
const matmulGrain = 4
