package asm

import (
	"fmt"
	"math"
	"sync"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/vec"
)

// constants contains the constants emitted so far, by bit pattern.
var constants = map[uint32]Mem{}

// Const returns the address of a vector of AVX2's width filled with x. AVX-512 code broadcasts from it.
func Const(x float32) Mem { return ConstBits(math.Float32bits(x)) }

// ConstBits is like Const, for a bit pattern.
func ConstBits(bits uint32) Mem {
	if m, ok := constants[bits]; ok {
		return m
	}
	m := GLOBL(fmt.Sprintf("c%08x", bits), RODATA|NOPTR)
	for i := 0; i < 8; i++ {
		DATA(4*i, U32(bits))
	}
	constants[bits] = m
	return m
}

// Splat returns a register filled with x.
func (v ISA) Splat(x float32) reg.VecVirtual {
	r := v.Vec()
	VBROADCASTSS(Const(x), r)
	return r
}

func (v ISA) wide() bool { return v.Bytes == 64 }

// MulC sets dst = x·c.
func (v ISA) MulC(c float32, x, dst reg.VecVirtual) {
	if v.wide() {
		VMULPS_BCST(Const(c), x, dst)
	} else {
		VMULPS(Const(c), x, dst)
	}
}

// AddC sets dst = x + c.
func (v ISA) AddC(c float32, x, dst reg.VecVirtual) {
	if v.wide() {
		VADDPS_BCST(Const(c), x, dst)
	} else {
		VADDPS(Const(c), x, dst)
	}
}

// MulAddC sets acc = acc·x + c.
func (v ISA) MulAddC(c float32, x, acc reg.VecVirtual) {
	if v.wide() {
		VFMADD213PS_BCST(Const(c), x, acc)
	} else {
		VFMADD213PS(Const(c), x, acc)
	}
}

// Horner returns c[0] + x·(c[1] + x·(…)).
func (v ISA) Horner(x Row, c ...float32) Row {
	last := len(c) - 1
	p := vec.SplatRow(v, len(x), c[last])
	for j := last - 1; j >= 0; j-- {
		x.Each(func(i int) { v.MulAddC(c[j], x[i], p[i]) })
	}
	return p
}

// SubMulC sets acc = acc − x·c.
func (v ISA) SubMulC(c float32, x, acc reg.VecVirtual) {
	if v.wide() {
		VFNMADD231PS_BCST(Const(c), x, acc)
	} else {
		VFNMADD231PS(Const(c), x, acc)
	}
}

// AddMulC sets acc = acc + x·c.
func (v ISA) AddMulC(c float32, x, acc reg.VecVirtual) {
	if v.wide() {
		VFMADD231PS_BCST(Const(c), x, acc)
	} else {
		VFMADD231PS(Const(c), x, acc)
	}
}

// AndBits and OrBits set dst = x op bits.
func (v ISA) AndBits(bits uint32, x, dst reg.VecVirtual) {
	if v.wide() {
		VPANDD_BCST(ConstBits(bits), x, dst)
	} else {
		VPAND(ConstBits(bits), x, dst)
	}
}

func (v ISA) OrBits(bits uint32, x, dst reg.VecVirtual) {
	if v.wide() {
		VPORD_BCST(ConstBits(bits), x, dst)
	} else {
		VPOR(ConstBits(bits), x, dst)
	}
}

// Round sets dst to the nearest integers of x.
func (v ISA) Round(x, dst reg.VecVirtual) {
	if v.wide() {
		VRNDSCALEPS(U8(8), x, dst)
	} else {
		VROUNDPS(U8(8), x, dst)
	}
}

// Copy returns a copy of x.
func (v ISA) Copy(x reg.VecVirtual) reg.VecVirtual {
	r := v.Vec()
	VMOVAPS(x, r)
	return r
}

// Scale2 sets dst = p·2^n for integral n, denormals and overflow included.
func (v ISA) Scale2(p, n, dst reg.VecVirtual) {
	if v.wide() {
		VSCALEFPS(n, p, dst)
		return
	}
	// In two halves, because 2^n alone may be out of range.
	whole, half := v.Vec(), v.Vec()
	VCVTPS2DQ(n, whole)
	VPSRAD(U8(1), whole, half)
	VPSUBD(half, whole, whole)
	for _, e := range []reg.Register{half, whole} {
		VPADDD(ConstBits(127), e, e)
		VPSLLD(U8(23), e, e)
	}
	VMULPS(half, p, dst)
	VMULPS(whole, dst, dst)
}

// Row is a group of vectors that a formula processes together.
type Row = vec.Row[reg.VecVirtual]

// Scale sets dst = p·2^n.
func (v ISA) Scale(p, n, dst Row) {
	p.Each(func(i int) { v.Scale2(p[i], n[i], dst[i]) })
}

// powers is the table of 2^(k/32).
var powers = sync.OnceValue(func() Mem {
	m := GLOBL("powers", RODATA|NOPTR)
	for k := range 32 {
		DATA(4*k, U32(math.Float32bits(float32(math.Exp2(float64(k)/32)))))
	}
	return m
})

// Powers returns the table of 2^(k/32) in two AVX-512 registers. Adding PowersShift to a small number rounds it to a multiple of 1/32 and
// leaves k in the low bits.
func (v ISA) Powers() (low, high reg.VecVirtual) {
	low, high = v.Vec(), v.Vec()
	VMOVUPS(powers(), low)
	VMOVUPS(powers().Offset(64), high)
	return low, high
}

// PowersShift is 1.5·2^18, see Powers.
const PowersShift = 1.5 * (1 << 18)

// ExpParts returns exp(x) as p·2^⌊n⌋ for x ≤ 150; x is consumed. AVX2 uses the algorithm of reduce32 in math32.go. AVX-512 rounds n to
// 32nds and takes the powers of the fractions from a table, so that a polynomial of degree three suffices, which makes the chain of
// dependent instructions half as long.
func (v ISA) ExpParts(x Row) (p, n Row) {
	least := v.Splat(-vec.ExpBound)
	x.Each(func(i int) { VMAXPS(x[i], least, x[i]) }) // NaN in x, the second source, is preserved
	if v.wide() {
		p, n = vec.SplatRow(v, len(x), math.Log2E), vec.NewRow(v, len(x))
		x.Each(func(i int) { v.MulAddC(PowersShift, x[i], p[i]) })
		x.Each(func(i int) { v.AddC(-PowersShift, p[i], n[i]) })
		x.Each(func(i int) { v.SubMulC(vec.Ln2High, n[i], x[i]) })
		x.Each(func(i int) { v.SubMulC(vec.Ln2Low, n[i], x[i]) })
		q := vec.SplatRow(v, len(x), 1./6)
		x.Each(func(i int) { v.MulAddC(0.5, x[i], q[i]) })
		x.Each(func(i int) { v.MulAddC(1, x[i], q[i]) })
		low, high := v.Powers()
		x.Each(func(i int) { VPERMI2PS(high, low, p[i]) })
		x.Each(func(i int) { VMULPS(p[i], x[i], x[i]) })
		x.Each(func(i int) { VFMADD231PS(q[i], x[i], p[i]) })
		return p, n
	}
	n = vec.NewRow(v, len(x))
	x.Each(func(i int) { v.MulC(math.Log2E, x[i], n[i]) })
	x.Each(func(i int) { v.Round(n[i], n[i]) })
	x.Each(func(i int) { v.SubMulC(vec.Ln2High, n[i], x[i]) })
	x.Each(func(i int) { v.SubMulC(vec.Ln2Low, n[i], x[i]) })
	p = v.Horner(x, vec.ExpCoefficients[:]...)
	x.Each(func(i int) {
		square := v.Vec()
		VMULPS(x[i], x[i], square)
		VFMADD213PS(x[i], square, p[i])
	})
	x.Each(func(i int) { v.AddC(1, p[i], p[i]) })
	return p, n
}

// Divide sets dst = x/d for d between 1 and 3. In that range, a reciprocal estimate with one Newton step is as accurate as a division. It
// is four instructions; a division takes as long as ten.
func (v ISA) Divide(d, x, dst Row) {
	if !v.wide() {
		d.Each(func(i int) { VDIVPS(d[i], x[i], dst[i]) })
		return
	}
	r, t := vec.NewRow(v, len(d)), vec.SplatRow(v, len(d), 1)
	d.Each(func(i int) { VRCP14PS(d[i], r[i]) })
	d.Each(func(i int) { VFNMADD231PS(d[i], r[i], t[i]) }) // t = 1 − d·r
	d.Each(func(i int) { VFMADD132PS(r[i], r[i], t[i]) })  // t = t·r + r
	d.Each(func(i int) { VMULPS(t[i], x[i], dst[i]) })
}

// Gate returns y·p/d·2^n where the sign bit of x is set, and y/d elsewhere. A nil y means 1.
func (v ISA) Gate(x, y, p, n, d Row) Row {
	num := make(Row, len(x))
	x.Each(func(i int) {
		if y != nil {
			num[i] = v.Copy(y[i])
		} else {
			num[i] = v.Splat(1)
		}
	})
	if v.wide() {
		neg := make([]reg.OpmaskVirtual, len(x))
		x.Each(func(i int) {
			neg[i] = K()
			VPMOVD2M(x[i], neg[i])
			VMULPS(p[i], num[i], neg[i], num[i])
		})
		v.Divide(d, num, num)
		x.Each(func(i int) { VSCALEFPS(n[i], num[i], neg[i], num[i]) })
		return num
	}
	x.Each(func(i int) {
		small := v.Vec()
		VMULPS(p[i], num[i], small)
		VBLENDVPS(x[i], small, num[i], num[i])
		VDIVPS(d[i], num[i], num[i])
		v.Scale2(num[i], n[i], small)
		VBLENDVPS(x[i], small, num[i], num[i])
	})
	return num
}

// WhereNegative sets dst = a in the lanes where the sign bit of x is set.
func (v ISA) WhereNegative(x, a, dst reg.VecVirtual) {
	if !v.wide() {
		VBLENDVPS(x, a, dst, dst)
		return
	}
	neg := K()
	VPMOVD2M(x, neg)
	VMOVAPS(a, neg, dst)
}

// The methods of vec.ISA that are a single instruction.

func (v ISA) Add(x, y, dst reg.VecVirtual)       { VADDPS(x, y, dst) }
func (v ISA) Sub(x, y, dst reg.VecVirtual)       { VSUBPS(y, x, dst) }
func (v ISA) Mul(x, y, dst reg.VecVirtual)       { VMULPS(x, y, dst) }
func (v ISA) Div(x, y, dst reg.VecVirtual)       { VDIVPS(y, x, dst) }
func (v ISA) Max(x, y, dst reg.VecVirtual)       { VMAXPS(x, y, dst) }
func (v ISA) Sqrt(x, dst reg.VecVirtual)         { VSQRTPS(x, dst) }
func (v ISA) MulAdd(x, y, acc reg.VecVirtual)    { VFMADD231PS(x, y, acc) }
func (v ISA) NegMulAdd(x, y, acc reg.VecVirtual) { VFNMADD231PS(x, y, acc) }

func (v ISA) MulAddTo(c, x, y reg.VecVirtual) reg.VecVirtual {
	VFMADD213PS(c, x, y)
	return y
}

func (v ISA) MinC(c float32, x, dst reg.VecVirtual) {
	VMINPS(x, v.Splat(c), dst) // NaN in x, the second source, is preserved
}

// Exp2 returns 2^x for x up to about 0. It is exact at 0 and within 2e-7 elsewhere; x is consumed. It is shorter than Exp and meant for
// loops that can multiply x by log₂e beforehand.
func (v ISA) Exp2(x reg.VecVirtual) reg.VecVirtual {
	if !v.wide() {
		VMAXPS(Const(-126), x, x)
	}
	return v.Exp2Normal(x)
}

// Exp2Normal is Exp2 for x ≥ −126.
func (v ISA) Exp2Normal(x reg.VecVirtual) reg.VecVirtual {
	n, p := v.Vec(), v.Vec()
	v.Round(x, n)
	VSUBPS(n, x, x)
	VBROADCASTSS(Const(vec.Exp2Coefficients[4]), p)
	for i := 3; i >= 0; i-- {
		v.MulAddC(vec.Exp2Coefficients[i], x, p)
	}
	v.MulAddC(1, x, p)
	if v.wide() {
		VSCALEFPS(n, p, p)
		return p
	}
	// Adding n to the exponent is enough where neither p nor the result is denormal.
	VCVTPS2DQ(n, n)
	VPSLLD(U8(23), n, n)
	VPADDD(n, p, p)
	return p
}
