package kernel

// MatMulNT computes c (m, n) = alpha·a (m, k)·b (n, k)ᵀ, or adds it to c: the forward pass of a linear layer, a the
// activations and b the weight (out, in).
func MatMulNT[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	b.check("b of a·bᵀ", b.Rows, a.Cols)
	c.check("c of a·bᵀ", a.Rows, b.Rows)
	if c32, a32, b32, ok := as32Mats(c, a, b); ok {
		p := product{mode: mode, c: c32, a: left{mat: a32, alpha: float32(alpha)}, b: turnedRight{b32}, m: a.Rows, n: b.Rows, k: a.Cols}
		p.run()
		return
	}
	For(a.Rows, matmulGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			ai, ci := a.Row(i), c.Row(i)
			j := 0
			for ; j+4 <= b.Rows; j += 4 {
				s := dot4(ai, b.Row(j), b.Row(j+1), b.Row(j+2), b.Row(j+3))
				for q, v := range s {
					put(mode, &ci[j+q], alpha*v)
				}
			}
			for ; j < b.Rows; j++ {
				var s T
				bj := b.Row(j)[:len(ai)]
				for l, v := range ai {
					s += v * bj[l]
				}
				put(mode, &ci[j], alpha*s)
			}
		}
	})
}

// MatMulNN computes c (m, n) = alpha·a (m, k)·b (k, n), or adds it to c: the input gradient of a linear layer, dx = dy·W.
func MatMulNN[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	b.check("b of a·b", a.Cols, b.Cols)
	c.check("c of a·b", a.Rows, b.Cols)
	if c32, a32, b32, ok := as32Mats(c, a, b); ok {
		p := product{mode: mode, c: c32, a: left{mat: a32, alpha: float32(alpha)}, b: rightOf(b32, a.Rows), m: a.Rows, n: b.Cols, k: a.Cols}
		p.run()
		return
	}
	For(a.Rows, matmulGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			ai := a.Row(i)
			accumulate(mode, c.Row(i), b, func(l int) T { return alpha * ai[l] })
		}
	})
}

// MatMulTN computes c (m, n) = alpha·a (k, m)ᵀ·b (k, n), or adds it to c: the weight gradient of a linear layer, dW = dyᵀ·x.
func MatMulTN[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	b.check("b of aᵀ·b", a.Rows, b.Cols)
	c.check("c of aᵀ·b", a.Cols, b.Cols)
	if c32, a32, b32, ok := as32Mats(c, a, b); ok {
		productTN(mode, c32, float32(alpha), a32, b32)
		return
	}
	For(a.Cols, matmulGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			accumulate(mode, c.Row(i), b, func(l int) T { return alpha * a.Data[l*a.Stride+i] })
		}
	})
}

// as32Mats returns the operands as float32 if that is what they are.
func as32Mats[T Float](c, a, b Mat[T]) (c32, a32, b32 Mat[float32], ok bool) {
	if c32, ok = any(c).(Mat[float32]); ok {
		a32, b32 = any(a).(Mat[float32]), any(b).(Mat[float32])
	}
	return
}

// rightOf is b as right operand of a product with rows rows.
func rightOf(b Mat[float32], rows int) right {
	if rows <= 2*active.height && b.Cols%16 == 0 {
		return directRight{b}
	}
	return plainRight{b}
}

// skinny is the number of columns up to which aᵀ·b is better computed as (bᵀ·a)ᵀ: a tile is broad, not high.
const skinny = 16

// productTN is MatMulTN in float32.
func productTN(mode Mode, c Mat[float32], alpha float32, a, b Mat[float32]) {
	if b.Cols > skinny || a.Cols <= b.Cols {
		p := product{mode: mode, c: c, a: left{mat: a, turned: true, alpha: alpha}, b: rightOf(b, a.Cols), m: a.Cols, n: b.Cols, k: a.Rows}
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

// matmulGrain is how many rows of c one task of the plain loops takes.
const matmulGrain = 4

func put[T Float](mode Mode, c *T, v T) {
	if mode == Add {
		v += *c
	}
	*c = v
}

// dot4 returns four inner products that share their left side.
func dot4[T Float](a, b0, b1, b2, b3 []T) (s [4]T) {
	b0, b1, b2, b3 = b0[:len(a)], b1[:len(a)], b2[:len(a)], b3[:len(a)]
	var s0, s1, s2, s3 T
	for l, v := range a {
		s0 += v * b0[l]
		s1 += v * b1[l]
		s2 += v * b2[l]
		s3 += v * b3[l]
	}
	return [4]T{s0, s1, s2, s3}
}

// accumulate computes c = Σ_l a(l)·b(l, ·), four rows of b at a time.
func accumulate[T Float](mode Mode, c []T, b Mat[T], a func(l int) T) {
	if mode == Set {
		clear(c)
	}
	l := 0
	for ; l+4 <= b.Rows; l += 4 {
		a0, a1, a2, a3 := a(l), a(l+1), a(l+2), a(l+3)
		b0, b1, b2, b3 := b.Row(l)[:len(c)], b.Row(l + 1)[:len(c)], b.Row(l + 2)[:len(c)], b.Row(l + 3)[:len(c)]
		for j := range c {
			c[j] += a0*b0[j] + a1*b1[j] + a2*b2[j] + a3*b3[j]
		}
	}
	for ; l < b.Rows; l++ {
		al, bl := a(l), b.Row(l)[:len(c)]
		for j := range c {
			c[j] += al * bl[j]
		}
	}
}
