package main

import (
	"math"

	"mambatrain/autograd/kernel/gen/a64"
	"mambatrain/autograd/kernel/gen/vec"
)

// row is a group of vectors that a formula processes together.
type row = vec.Row[a64.V]

// isa implements vec.ISA with NEON, for a function under construction. Instructions have three operands, so formulas need few copies.
// Constants are loaded where they are used, because the load units would otherwise be idle.
type isa struct {
	*a64.Func
	reduce a64.V // log₂e and ln 2 in two parts, multipliers by element
}

// newISA starts a function that computes exponentials.
func newISA(f *a64.Func) isa {
	f.UseConsts()
	return isa{f, f.Consts(math.Log2E, vec.Ln2High, vec.Ln2Low, -math.Log2E)}
}

// roundBias is 1.5·2²³: adding it to a small number leaves that number, rounded, in the low bits.
const roundBias = 12582912

func (v isa) Vec() a64.V { return v.V() }

func (v isa) Zero() a64.V {
	r := v.V()
	v.Func.Zero(r)
	return r
}

func (v isa) Splat(c float32) a64.V { return v.Const(c) }

func (v isa) Copy(x a64.V) a64.V {
	r := v.V()
	v.MOVV(r, x)
	return r
}

func (v isa) Add(x, y, dst a64.V)       { v.FADD(dst, x, y) }
func (v isa) Sub(x, y, dst a64.V)       { v.FSUB(dst, x, y) }
func (v isa) Mul(x, y, dst a64.V)       { v.FMUL(dst, x, y) }
func (v isa) Div(x, y, dst a64.V)       { v.FDIV(dst, x, y) }
func (v isa) Max(x, y, dst a64.V)       { v.FMAX(dst, x, y) }
func (v isa) Sqrt(x, dst a64.V)         { v.FSQRT(dst, x) }
func (v isa) MulAdd(x, y, acc a64.V)    { v.FMLA(acc, x, y) }
func (v isa) NegMulAdd(x, y, acc a64.V) { v.FMLS(acc, x, y) }

func (v isa) MulAddTo(c, x, y a64.V) a64.V {
	sum := v.Copy(c)
	v.FMLA(sum, x, y)
	return sum
}

func (v isa) AddC(c float32, x, dst a64.V) { v.FADD(dst, x, v.Const(c)) }
func (v isa) MinC(c float32, x, dst a64.V) { v.FMIN(dst, x, v.Const(c)) }

func (v isa) OrBits(bits uint32, x, dst a64.V) { v.ORR(dst, x, v.Bits(bits)) }

func (v isa) WhereNegative(x, a, dst a64.V) { v.BIT(dst, a, v.sign(x)) }

// sign returns all bits set in the lanes where the sign bit of x is set.
func (v isa) sign(x a64.V) a64.V {
	r := v.V()
	v.SSHR(r, x, 31)
	return r
}

// Divide multiplies by an 8-bit estimate of the reciprocal, refined by two Newton steps. Two units can share that work; a division would
// keep one of them busy for a long time.
func (v isa) Divide(d, x, dst row) {
	r, t := vec.NewRow(v, len(d)), vec.NewRow(v, len(d))
	d.Each(func(i int) { v.FRECPE(r[i], d[i]) })
	for range 2 {
		d.Each(func(i int) { v.FRECPS(t[i], d[i], r[i]) })
		d.Each(func(i int) { v.FMUL(r[i], r[i], t[i]) })
	}
	d.Each(func(i int) { v.FMUL(dst[i], r[i], x[i]) })
}

// ExpParts uses the algorithm of reduce32 in math32.go. The power of two is returned as two factors, because 2^n alone may be out of range:
// n contains the first factors of all vectors, then the second ones.
func (v isa) ExpParts(x row) (p, n row) {
	least, bias := v.Const(-vec.ExpBound), v.Const(roundBias)
	k, whole := vec.NewRow(v, len(x)), vec.NewRow(v, len(x))
	x.Each(func(i int) { v.FMAX(x[i], x[i], least) })
	x.Each(func(i int) {
		v.MOVV(k[i], bias)
		v.FMLAe(k[i], x[i], v.reduce, 0)
	})
	x.Each(func(i int) {
		v.FSUB(whole[i], k[i], bias)
		v.SUBI4(k[i], k[i], bias)
	})
	x.Each(func(i int) { v.FMLSe(x[i], whole[i], v.reduce, 1) })
	x.Each(func(i int) { v.FMLSe(x[i], whole[i], v.reduce, 2) })
	p = v.Horner(x, vec.ExpCoefficients[:]...)
	x.Each(func(i int) { // p·x² + x + 1
		v.FMUL(whole[i], x[i], x[i])
		v.FMLA(x[i], p[i], whole[i])
		p[i] = v.Const(1)
		v.FADD(p[i], p[i], x[i])
	})
	return p, v.powers(k)
}

func (v isa) Horner(x row, c ...float32) row {
	last := len(c) - 1
	p := make(row, len(x))
	p[0] = v.Const(c[last])
	for i := range p {
		p[i] = p[0]
	}
	for j := last - 1; j >= 0; j-- {
		p = v.mulAddC(c[j], x, p)
	}
	return p
}

// mulAddC returns x·y + c, a step of Horner's rule. It loads two vectors of c at once, because each sum needs a fresh one.
func (v isa) mulAddC(c float32, x, y row) row {
	sums := make(row, len(x))
	for i := 0; i < len(x); i += 2 {
		if i+1 == len(x) {
			sums[i] = v.Const(c)
			v.FMLA(sums[i], x[i], y[i])
			continue
		}
		sums[i], sums[i+1] = v.ConstPair(c)
		v.FMLA(sums[i], x[i], y[i])
		v.FMLA(sums[i+1], x[i+1], y[i+1])
	}
	return sums
}

// powers returns two rows of factors whose products are 2^k for integral k, which is consumed.
func (v isa) powers(k row) row {
	half, one := vec.NewRow(v, len(k)), v.Bits(127)
	k.Each(func(i int) {
		v.SSHR(half[i], k[i], 1)
		v.SUBI4(k[i], k[i], half[i])
	})
	both := append(half, k...)
	both.Each(func(i int) { v.ADDI4(both[i], both[i], one) })
	both.Each(func(i int) { v.SHL(both[i], both[i], 23) })
	return both
}

func (v isa) Scale(p, n, dst row) {
	p.Each(func(i int) { v.FMUL(dst[i], p[i], n[i]) })
	p.Each(func(i int) { v.FMUL(dst[i], dst[i], n[len(p)+i]) })
}

func (v isa) Gate(x, y, p, n, d row) row {
	sign, num := make(row, len(x)), make(row, len(x))
	one := v.Const(1)
	x.Each(func(i int) {
		sign[i] = v.sign(x[i])
		positive := one
		if y != nil {
			v.FMUL(p[i], p[i], y[i])
			positive = y[i]
		}
		num[i] = v.Copy(sign[i])
		v.BSL(num[i], p[i], positive)
	})
	v.Divide(d, num, num)
	scaled := vec.NewRow(v, len(x))
	v.Scale(num, n, scaled)
	x.Each(func(i int) { v.BIT(num[i], scaled[i], sign[i]) })
	return num
}

// exp2 returns 2^x for x up to about 0. It is exact at 0 and negligible below 2⁻¹²⁶; x is consumed. least is −126, bias roundBias.
func (v isa) exp2(x row, least, bias a64.V) row {
	x.Each(func(i int) { v.FMAX(x[i], x[i], least) })
	return v.exp2Normal(x, bias)
}

// exp2Normal is exp2 for x ≥ −126.
func (v isa) exp2Normal(x row, bias a64.V) row {
	k, n := vec.NewRow(v, len(x)), vec.NewRow(v, len(x))
	x.Each(func(i int) { v.FADD(k[i], x[i], bias) })
	x.Each(func(i int) { v.FSUB(n[i], k[i], bias) })
	x.Each(func(i int) { v.FSUB(x[i], x[i], n[i]) })
	p := v.Horner(x, append([]float32{1}, vec.Exp2Coefficients[:]...)...)
	x.Each(func(i int) { // adding to the exponent is enough where neither p nor the result is denormal
		v.SHL(k[i], k[i], 23)
		v.ADDI4(p[i], p[i], k[i])
	})
	return p
}

// fold adds up the lanes of all vectors into lane 0 of the first, which it returns.
func (v isa) fold(r row) a64.V {
	for n := len(r); n > 1; n /= 2 {
		for i := range n / 2 {
			v.FADD(r[i], r[i], r[i+n/2])
		}
	}
	v.FADDP(r[0], r[0], r[0])
	v.FADDP(r[0], r[0], r[0])
	return r[0]
}

// zeros returns n vectors of zeros.
func (v isa) zeros(n int) row {
	r := make(row, n)
	for i := range r {
		r[i] = v.Zero()
	}
	return r
}

// load and store move neighboring vectors, an even number or one.
func (v isa) load(n int, base a64.X, offset int) row {
	r := vec.NewRow(v, n)
	if n == 1 {
		v.LD(r[0], base, offset)
		return r
	}
	for i := 0; i < n; i += 2 {
		v.LDP(r[i], r[i+1], base, offset+16*i)
	}
	return r
}

func (v isa) store(r row, base a64.X, offset int) {
	for i := 0; i < len(r); i += 2 {
		v.STP(r[i], r[i+1], base, offset+16*i)
	}
}
