// Package vec describes the kernels that are loops over vectors, once for every instruction set.
package vec

// Row is a group of vectors that a formula processes together, each step for all vectors before the next, so that their long chains of
// dependent instructions hide each other's latency.
type Row[R any] []R

// Each calls f with the index of each vector.
func (r Row[R]) Each(f func(i int)) {
	for i := range r {
		f(i)
	}
}

// ISA is an instruction set with vector registers R. The last register argument of a method is its destination, which may be one of its
// operands.
type ISA[R any] interface {
	Vec() R // a fresh register
	Zero() R
	Splat(c float32) R // a fresh register, filled with c
	Copy(x R) R
	Add(x, y, dst R)
	Sub(x, y, dst R) // dst = x − y
	Mul(x, y, dst R)
	Div(x, y, dst R) // dst = x/y
	Max(x, y, dst R) // NaN in x is preserved
	Sqrt(x, dst R)
	MulAdd(x, y, acc R)                   // acc += x·y
	NegMulAdd(x, y, acc R)                // acc −= x·y
	MulAddTo(c, x, y R) R                 // y·x + c; y is consumed
	AddC(c float32, x, dst R)             // dst = x + c
	MinC(c float32, x, dst R)             // dst = min(x, c); NaN in x is preserved
	OrBits(bits uint32, x, dst R)         // dst = x | bits
	WhereNegative(x, a, dst R)            // dst = a in the lanes where the sign bit of x is set
	Divide(d, x, dst Row[R])              // dst = x/d for d between 1 and 3
	Horner(x Row[R], c ...float32) Row[R] // c[0] + x·(c[1] + x·(…))
	ExpParts(x Row[R]) (p, n Row[R])      // exp(x) = p·2^n for x ≤ 150; x is consumed
	Scale(p, n, dst Row[R])               // dst = p·2^n, denormals and overflow included
	Gate(x, y, p, n, d Row[R]) Row[R]     // y·p/d·2^n where the sign bit of x is set, else y/d; a nil y means 1; y is not consumed
}

// NewRow returns n fresh vectors.
func NewRow[R any](v ISA[R], n int) Row[R] {
	r := make(Row[R], n)
	for i := range r {
		r[i] = v.Vec()
	}
	return r
}

// SplatRow returns n vectors filled with c.
func SplatRow[R any](v ISA[R], n int, c float32) Row[R] {
	r := make(Row[R], n)
	r[0] = v.Splat(c)
	for i := 1; i < n; i++ {
		r[i] = v.Copy(r[0])
	}
	return r
}

// ExpBound is so large that float32 cannot represent exp(ExpBound) or exp(−ExpBound), even as a denormal.
const ExpBound = 150

// The constants of reduce32 in math32.go: ln 2 in two parts, and the polynomial of (exp(r) − 1 − r)/r².
const (
	Ln2High = 0.693359375
	Ln2Low  = -2.12194440054690582e-4
)

var ExpCoefficients = [6]float32{5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4}

// Exp2Coefficients approximates (2^f − 1)/f on [−½, ½] by interpolation at Chebyshev nodes.
var Exp2Coefficients = [5]float32{0.6931471805599453, 0.24022349038020266, 0.055503810137964335, 0.009666368515389136, 0.001338130253735517}

// Exp returns exp(x); x is consumed.
func Exp[R any](v ISA[R], x Row[R]) Row[R] {
	x.Each(func(i int) { v.MinC(ExpBound, x[i], x[i]) })
	p, n := v.ExpParts(x)
	v.Scale(p, n, p)
	return p
}

// Gated returns y·σ(x), as gated32 in math32.go does. A nil y means 1. Neither argument is consumed.
func Gated[R any](v ISA[R], x, y Row[R]) Row[R] {
	p, n := v.ExpParts(negAbs(v, x))
	d := NewRow(v, len(x))
	v.Scale(p, n, d)
	d.Each(func(i int) { v.AddC(1, d[i], d[i]) })
	return v.Gate(x, y, p, n, d)
}

// SiLUSlope returns σ(x)·(1 + x·(1 − σ(x))).
func SiLUSlope[R any](v ISA[R], x Row[R]) Row[R] {
	s := Gated(v, x, nil)
	t := SplatRow(v, len(x), 1)
	t.Each(func(i int) { v.Sub(t[i], s[i], t[i]) })
	t.Each(func(i int) { v.Mul(x[i], t[i], t[i]) })
	t.Each(func(i int) { v.AddC(1, t[i], t[i]) })
	t.Each(func(i int) { v.Mul(s[i], t[i], t[i]) })
	return t
}

// Softplus returns log(1+exp(x)), as softplus32 in math32.go does; x is consumed.
func Softplus[R any](v ISA[R], x Row[R]) Row[R] {
	e := expNegAbs(v, x)
	return softplusOf(v, e, x)
}

// SoftplusSlope returns log(1+exp(x)) and its derivative σ(x), which loses relative precision where exp(x) is denormal; x is
// consumed.
func SoftplusSlope[R any](v ISA[R], x Row[R]) (y, slope Row[R]) {
	e := expNegAbs(v, x)
	d, num := NewRow(v, len(x)), SplatRow(v, len(x), 1)
	x.Each(func(i int) {
		v.AddC(1, e[i], d[i])
		v.WhereNegative(x[i], e[i], num[i])
	})
	v.Divide(d, num, num)
	return softplusOf(v, e, x), num
}

// negAbs returns −|x|.
func negAbs[R any](v ISA[R], x Row[R]) Row[R] {
	t := NewRow(v, len(x))
	x.Each(func(i int) { v.OrBits(1<<31, x[i], t[i]) })
	return t
}

// expNegAbs returns exp(−|x|).
func expNegAbs[R any](v ISA[R], x Row[R]) Row[R] {
	p, n := v.ExpParts(negAbs(v, x))
	v.Scale(p, n, p)
	return p
}

// softplusOf returns max(x, 0) + log1p(e); x is consumed.
func softplusOf[R any](v ISA[R], e, x Row[R]) Row[R] {
	s, q := NewRow(v, len(x)), NewRow(v, len(x))
	x.Each(func(i int) { v.AddC(2, e[i], s[i]) })
	v.Divide(s, e, s)
	x.Each(func(i int) { v.Mul(s[i], s[i], q[i]) })
	l := v.Horner(q, 1.9999999998090063, 0.6666667902641993, 0.3999871124790153, 0.2862020737894481, 0.21398560841179093, 0.24393906785965055)
	x.Each(func(i int) { v.Mul(s[i], l[i], l[i]) })
	zero := v.Zero()
	x.Each(func(i int) {
		v.Max(x[i], zero, x[i])
		v.Add(x[i], l[i], l[i])
	})
	return l
}
