package main

import (
	"mambatrain/autograd/kernel/gen/a64"
	"mambatrain/autograd/kernel/gen/vec"
)

// Loops advance by a block: 16 float32, four vectors.
const (
	blockVectors = 4
	blockBytes   = 64
)

// duality emits the kernels of Mamba-2, which gen/ssd writes for amd64 and describes.
func duality(file *a64.File) {
	decay(file)
	decayGrad(file)
	scaleRows(file, "ssdScaleRowsNeon", false)
	scaleRows(file, "ssdAddRowsNeon", true)
	dotRows(file)
	ssdStep(file)
	gatedSums(file)
	gatedGrad(file)
}

// least is the smallest exponent of a decay, and half of it the smallest of each of two factors, as in gen/ssd.
const least = -100

// triangle is a loop over the columns j ≤ i of a row i, as in gen/ssd; both are in bytes.
type triangle struct {
	isa
	hi, lo, right a64.X
	i, j, end     a64.X
	bias          a64.V
}

func newTriangle(v isa) *triangle {
	return &triangle{isa: v, hi: v.Param("hi"), lo: v.Param("lo"), right: v.Param("right"), i: v.X(), j: v.X(), end: v.X(), bias: v.Const(roundBias)}
}

// splat fills a vector with the float32 at base + offset.
func (v isa) splat(base, offset a64.X) row {
	p, r := v.X(), v.V()
	v.ADD(p, base, offset)
	v.LD1R(r, p)
	return row{r}
}

// block loads the block at base + offset.
func (v isa) block(base, offset a64.X) row {
	p := v.X()
	v.ADD(p, base, offset)
	return v.load(blockVectors, p, 0)
}

func (v isa) storeBlock(r row, base, offset a64.X) {
	p := v.X()
	v.ADD(p, base, offset)
	v.store(r, p, 0)
}

// blockOf sets end to the first column of the diagonal's block, and jumps to the label if there is none before it.
func (t *triangle) blockOf(none string) (corner a64.X) {
	t.LSRI(t.end, t.i, 6)
	t.LSLI(t.end, t.end, 6)
	t.CBZ(t.end, none)
	corner = t.X()
	t.SUBI(corner, t.end, 4)
	t.MOVI(t.j, 0)
	return corner
}

// columns emits far for each block left of the diagonal's, with the row's factor, and near for that block, with the decays and
// masks of the columns up to the diagonal and before it.
func (t *triangle) columns(far func(left a64.V), near func(decay, upTo, before row)) {
	corner := t.blockOf("near")
	left := t.between(t.splat(t.hi, t.i), t.splat(t.lo, t.i), t.splat(t.hi, corner), t.splat(t.lo, corner), least/2)
	t.Label("far")
	far(left[0])
	t.ADDI(t.j, t.j, blockBytes)
	t.CMP(t.j, t.end)
	t.Bcond("LT", "far")
	t.Label("near")
	t.MOV(t.j, t.end)
	d := t.between(t.splat(t.hi, t.i), t.splat(t.lo, t.i), t.block(t.hi, t.j), t.block(t.lo, t.j), least)
	n, diagonal := t.X(), t.V()
	t.SUB(n, t.i, t.j)
	t.LSRI(n, n, 2)
	t.DupX(diagonal, n)
	upTo, before := vec.NewRow(t, blockVectors), vec.NewRow(t, blockVectors)
	for k := range uint32(blockVectors) {
		lanes := t.Words([4]uint32{4 * k, 4*k + 1, 4*k + 2, 4*k + 3})
		t.CMGE(upTo[k], diagonal, lanes)
		t.CMGT(before[k], diagonal, lanes)
	}
	near(d, upTo, before)
}

// prepare computes right for the block of row i, times scale if that is not nil.
func (t *triangle) prepare(scale *a64.X) {
	corner := t.blockOf("prepared")
	hiB, loB := t.splat(t.hi, corner), t.splat(t.lo, corner)
	t.Label("prepare")
	e := t.between(hiB, loB, t.block(t.hi, t.j), t.block(t.lo, t.j), least/2)
	if scale != nil {
		s := t.block(*scale, t.j)
		e.Each(func(k int) { t.FMUL(e[k], e[k], s[k]) })
	}
	t.storeBlock(e, t.right, t.j)
	t.ADDI(t.j, t.j, blockBytes)
	t.CMP(t.j, t.end)
	t.Bcond("LT", "prepare")
	t.Label("prepared")
}

// between returns 2^(s_i − s_j) for the parts of s_i, one vector each, and of s_j, which are consumed.
func (t *triangle) between(hiI, loI, hiJ, loJ row, least float32) row {
	floor := t.Const(least)
	hiJ.Each(func(k int) { t.FSUB(hiJ[k], hiI[0], hiJ[k]) })
	loJ.Each(func(k int) { t.FSUB(loJ[k], loI[0], loJ[k]) })
	hiJ.Each(func(k int) { t.FADD(hiJ[k], hiJ[k], loJ[k]) })
	hiJ.Each(func(k int) { t.FMAX(hiJ[k], hiJ[k], floor) })
	return t.exp2Normal(hiJ, t.bias)
}

// clearNext stores zeros over the block that follows the last one.
func (t *triangle) clearNext(base a64.X) {
	p := t.X()
	t.ADD(p, base, t.j)
	t.store(t.zeros(blockVectors), p, blockBytes)
}

func decay(file *a64.File) {
	f := file.Func("ssdDecayNeon", "func(rows int, m, gram *float32, ld int, hi, lo, delta, right *float32)")
	f.UseConsts()
	rows, m, g, ld, delta := f.Param("rows"), f.Param("m"), f.Param("gram"), f.Param("ld"), f.Param("delta")
	f.LSLI(rows, rows, 2)
	f.LSLI(ld, ld, 2)
	t := newTriangle(isa{Func: f})
	f.MOVI(t.i, 0)
	f.Label("row")
	f.LSLI(t.end, t.i, 64-6)
	f.CBNZ(t.end, "prepared")
	t.prepare(&delta)
	t.columns(func(left a64.V) {
		e, r := t.block(g, t.j), t.block(t.right, t.j)
		e.Each(func(k int) { f.FMUL(e[k], e[k], left) })
		e.Each(func(k int) { f.FMUL(e[k], e[k], r[k]) })
		t.storeBlock(e, m, t.j)
	}, func(e, upTo, _ row) {
		x, d := t.block(g, t.j), t.block(delta, t.j)
		e.Each(func(k int) { f.FMUL(e[k], e[k], x[k]) })
		e.Each(func(k int) { f.FMUL(e[k], e[k], d[k]) })
		e.Each(func(k int) { f.AND(e[k], e[k], upTo[k]) })
		t.storeBlock(e, m, t.j)
	})
	t.clearNext(m)
	f.ADD(m, m, ld)
	f.ADD(g, g, ld)
	f.ADDI(t.i, t.i, 4)
	f.CMP(t.i, rows)
	f.Bcond("LT", "row")
	f.RET()
}

func decayGrad(file *a64.File) {
	f := file.Func("ssdDecayGradNeon", "func(rows int, m, gram, w, k *float32, ldb int, hi, lo, delta, right, r, da *float32)")
	f.UseConsts()
	m, g, w, kp := f.Param("m"), f.Param("gram"), f.Param("w"), f.Param("k")
	ldb, delta, r, da := f.Param("ldb"), f.Param("delta"), f.Param("r"), f.Param("da")
	rows := f.Param("rows")
	t := newTriangle(isa{Func: f})
	f.SUBI(rows, rows, 1)
	f.MUL(t.j, ldb, rows)
	for _, p := range []a64.X{m, g, w, kp} {
		f.ADD(p, p, t.j)
	}
	f.LSLI(t.i, rows, 2)
	f.B("first")
	f.Label("row")
	f.ADDI(t.end, t.i, 4)
	f.LSLI(t.end, t.end, 64-6)
	f.CBNZ(t.end, "prepared") // the block's last row comes first
	f.Label("first")
	t.prepare(nil)
	sums := t.zeros(blockVectors)
	accumulate := func(e, upTo, before row) {
		y, x, d := t.block(g, t.j), t.block(kp, t.j), t.block(delta, t.j)
		e.Each(func(i int) {
			f.FMUL(x[i], x[i], e[i]) // e·k
			f.FMUL(e[i], e[i], y[i]) // e·g
			f.FMUL(y[i], y[i], x[i]) // e·g·k
			if upTo != nil {
				f.AND(x[i], x[i], upTo[i])
				f.AND(e[i], e[i], upTo[i])
				f.AND(y[i], y[i], upTo[i])
			}
			f.FMUL(e[i], e[i], d[i])
		})
		t.storeBlock(e, m, t.j)
		sum := t.block(w, t.j)
		sum.Each(func(i int) { f.FMLA(sum[i], d[i], x[i]) })
		t.storeBlock(sum, w, t.j)
		sum = t.block(r, t.j)
		sum.Each(func(i int) { f.FADD(sum[i], sum[i], y[i]) })
		t.storeBlock(sum, r, t.j)
		sum.Each(func(i int) {
			if before != nil {
				f.AND(sum[i], sum[i], before[i])
			}
			f.FMLA(sums[i], d[i], sum[i])
		})
	}
	t.columns(func(left a64.V) {
		e := t.block(t.right, t.j)
		e.Each(func(i int) { f.FMUL(e[i], e[i], left) })
		accumulate(e, nil, nil)
	}, accumulate)
	t.clearNext(m)
	f.ADD(t.end, da, t.i)
	f.STS(t.fold(sums), t.end, 0)
	for _, p := range []a64.X{m, g, w, kp} {
		f.SUB(p, p, ldb)
	}
	f.SUBS(t.i, t.i, 4)
	f.Bcond("GE", "row")
	f.RET()
}

// blocks emits a loop over n columns, 16 at a time; j is the offset of the block.
func blocks(v isa, n, j a64.X, body func()) {
	v.MOVI(j, 0)
	v.Label("block")
	body()
	v.ADDI(j, j, blockBytes)
	v.CMP(j, n)
	v.Bcond("LT", "block")
}

func scaleRows(file *a64.File, name string, add bool) {
	f := file.Func(name, "func(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32)")
	v := isa{Func: f}
	rows, n, y, ldy, x, ldx, w := f.Param("rows"), f.Param("n"), f.Param("y"), f.Param("ldy"), f.Param("x"), f.Param("ldx"), f.Param("w")
	for _, r := range []a64.X{n, ldy, ldx} {
		f.LSLI(r, r, 2)
	}
	j, scale := f.X(), f.V()
	f.Label("row")
	f.LD1R(scale, w)
	blocks(v, n, j, func() {
		t := v.block(x, j)
		if add {
			sum := v.block(y, j)
			sum.Each(func(k int) { f.FMLA(sum[k], t[k], scale) })
			t = sum
		} else {
			t.Each(func(k int) { f.FMUL(t[k], t[k], scale) })
		}
		v.storeBlock(t, y, j)
	})
	f.ADD(y, y, ldy)
	f.ADD(x, x, ldx)
	f.ADDI(w, w, 4)
	f.SUBI(rows, rows, 1)
	f.CBNZ(rows, "row")
	f.RET()
}

func dotRows(file *a64.File) {
	f := file.Func("ssdDotRowsNeon", "func(rows, n int, y, a *float32, lda int, b *float32, ldb int)")
	v := isa{Func: f}
	rows, n, y, a, lda, b, ldb := f.Param("rows"), f.Param("n"), f.Param("y"), f.Param("a"), f.Param("lda"), f.Param("b"), f.Param("ldb")
	for _, r := range []a64.X{n, lda, ldb} {
		f.LSLI(r, r, 2)
	}
	j := f.X()
	f.Label("row")
	sums := v.zeros(blockVectors)
	blocks(v, n, j, func() {
		x, z := v.block(a, j), v.block(b, j)
		sums.Each(func(k int) { f.FMLA(sums[k], x[k], z[k]) })
	})
	f.STS(v.fold(sums), y, 0)
	f.ADD(a, a, lda)
	f.ADD(b, b, ldb)
	f.ADDI(y, y, 4)
	f.SUBI(rows, rows, 1)
	f.CBNZ(rows, "row")
	f.RET()
}

func ssdStep(file *a64.File) {
	f := file.Func("ssdStepNeon", "func(rows, n int, y, h, x, b, c *float32, decay, delta, skip float32)")
	v := isa{Func: f}
	rows, n, y, h, x, b, c := f.Param("rows"), f.Param("n"), f.Param("y"), f.Param("h"), f.Param("x"), f.Param("b"), f.Param("c")
	f.LSLI(n, n, 2)
	keep, delta, skip := f.ParamV("decay"), f.ParamV("delta"), f.ParamV("skip")
	j, in, passed := f.X(), f.V(), f.V()
	f.Label("row")
	f.LD1R(in, x)
	f.FMUL(passed, in, skip)
	f.FMUL(in, in, delta)
	sums := v.zeros(blockVectors)
	blocks(v, n, j, func() {
		t, bs, cs := v.block(h, j), v.block(b, j), v.block(c, j)
		t.Each(func(k int) {
			f.FMUL(t[k], t[k], keep)
			f.FMLA(t[k], bs[k], in)
		})
		v.storeBlock(t, h, j)
		t.Each(func(k int) { f.FMLA(sums[k], t[k], cs[k]) })
	})
	sum := v.fold(sums)
	f.FADD(sum, sum, passed)
	f.STS(sum, y, 0)
	f.ADD(h, h, n)
	f.ADDI(x, x, 4)
	f.ADDI(y, y, 4)
	f.SUBI(rows, rows, 1)
	f.CBNZ(rows, "row")
	f.RET()
}

// gatedSums and gatedGrad are described in gen/ssd. σ needs too many registers for all vectors of a block.

func gatedSums(file *a64.File) {
	f := file.Func("gatedSumsNeon", "func(n int, v, s, y, z, w, do *float32) (squares, products float64)")
	l := &loop{isa: newISA(f), width: width(true), ptrs: map[string]a64.X{}}
	squares, products := l.zeros(4), l.zeros(4)
	l.emit([]string{"v", "s", "y", "z", "w", "do"}, func() {}, func() {
		z := l.Load("z")
		s := vec.Gated(l, z, nil)
		l.Store(s, "s")
		z.Each(func(i int) { f.FMUL(z[i], z[i], s[i]) })
		l.MulFrom("y", z, z)
		l.Store(z, "v")
		q := l.Load("w")
		l.MulFrom("do", q, q)
		l.dotWide(z, z, squares)
		l.dotWide(z, q, products)
	})
	l.Result("squares", l.foldWide(squares))
	l.Result("products", l.foldWide(products))
	f.RET()
}

func gatedGrad(file *a64.File) {
	f := file.Func("gatedGradNeon", "func(n int, dy, dz, v, s, y, z, w, do *float32, r, k float32)")
	f.UseConsts()
	l := &loop{isa: isa{Func: f}, width: width(true), ptrs: map[string]a64.X{}}
	r, k := f.ParamV("r"), f.ParamV("k")
	l.emit([]string{"dy", "dz", "v", "s", "y", "z", "w", "do"}, func() {}, func() {
		dv := l.Load("w")
		l.MulFrom("do", dv, dv)
		dv.Each(func(i int) { f.FMUL(dv[i], dv[i], r) })
		v := l.Load("v")
		dv.Each(func(i int) { f.FMLS(dv[i], v[i], k) })
		s, z, slope := l.Load("s"), l.Load("z"), vec.SplatRow(l, l.width, 1)
		dv.Each(func(i int) { f.FSUB(slope[i], slope[i], s[i]) })
		slope = l.mulAddC(1, z, slope)
		dv.Each(func(i int) {
			f.FMUL(dv[i], dv[i], s[i])
			f.FMUL(z[i], z[i], dv[i])
		})
		l.Store(z, "dy")
		l.MulFrom("y", dv, dv)
		dv.Each(func(i int) { f.FMUL(dv[i], dv[i], slope[i]) })
		l.Store(dv, "dz")
	})
	f.RET()
}
