package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

// Offsets of scanElementwise's fields, in their order. The eight after the record are columns of matrices, each an address and
// the distance of rows in bytes; those from fieldY on are written.
const (
	fieldRows = 8 * iota
	fieldRow
	fieldDT
	_
	fieldU
	_
	fieldZ
	_
	fieldGy
	_
	fieldY
	_
	fieldDU
	_
	fieldDDT
	_
	fieldDZ
	_
	fieldSkip
	fieldDSkip
	fieldAddU
	fieldAddDT
	fieldAddZ
)

// elementwise is a pass under construction: a loop over rows, and within it over the block's channels, some vectors at a time.
type elementwise struct {
	asm.ISA
	args
	vectors int
	row     reg.Register
	columns map[int]reg.GPVirtual
	col     reg.GPVirtual
}

// pass emits a pass over the given columns. before, if not nil, is emitted ahead of the loop.
func pass(v asm.ISA, name string, columns []int, before func(e *elementwise), body func(e *elementwise)) {
	e := &elementwise{ISA: v, args: head(name, v.Suffix), vectors: 1, columns: map[int]reg.GPVirtual{}, col: GP64()}
	if v.Bytes == 64 {
		e.vectors = 4
	}
	n := e.get(fieldRows)
	e.row = e.get(fieldRow)
	for _, c := range columns {
		e.columns[c] = e.get(c)
	}
	if before != nil {
		before(e)
	}
	Label("row")
	for _, c := range columns {
		e.fetch(c)
	}
	XORQ(e.col, e.col)
	Label("columns")
	body(e)
	ADDQ(U32(e.vectors*v.Bytes), e.col)
	CMPQ(e.col, U32(blockBytes))
	JLT(LabelRef("columns"))
	ADDQ(U32(recordBytes), e.row)
	for _, c := range columns {
		ADDQ(at(e.p, c+8), e.columns[c])
	}
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// fetch prefetches a matrix's columns two rows ahead. They are in the second-level cache already, see args.prefetch, but its
// latency is too much for a pass of so few instructions.
func (e *elementwise) fetch(c int) {
	p := reg.RAX // which PREFETCHWAX reads
	MOVQ(at(e.p, c+8), p)
	LEAQ(Mem{Base: e.columns[c], Index: p, Scale: 2}, p)
	for i := 0; i < blockBytes; i += 64 {
		if c < fieldY {
			PREFETCHT0(Mem{Base: p})
		} else {
			asm.PREFETCHWAX(0)
		}
		ADDQ(U8(64), p)
	}
}

// field addresses vector i of a field of the record.
func (e *elementwise) field(f, i int) Mem {
	return Mem{Base: e.row, Index: e.col, Scale: 1, Disp: f + i*e.Bytes}
}

// column addresses vector i of a matrix's row.
func (e *elementwise) column(c, i int) Mem {
	return Mem{Base: e.columns[c], Index: e.col, Scale: 1, Disp: i * e.Bytes}
}

func (e *elementwise) load(m func(f, i int) Mem, f int) asm.Row {
	r := e.NewRow(e.vectors)
	for i := range r {
		VMOVUPS(m(f, i), r[i])
	}
	return r
}

func (e *elementwise) store(r asm.Row, m func(f, i int) Mem, f int) {
	for i := range r {
		VMOVUPS(r[i], m(f, i))
	}
}

// times multiplies r by what is in memory.
func (e *elementwise) times(r asm.Row, m func(f, i int) Mem, f int) {
	for i := range r {
		VMULPS(m(f, i), r[i], r[i])
	}
}

// plusProduct adds x times what is in memory to r.
func (e *elementwise) plusProduct(r, x asm.Row, m func(f, i int) Mem, f int) {
	for i := range r {
		VFMADD231PS(m(f, i), x[i], r[i])
	}
}

// vector gives a pass the address of a vector as long as the block is wide, which column then reads.
func (e *elementwise) vector(f int) { e.columns[f] = e.get(f) }

// elementwisePasses emits all of them.
func elementwisePasses(v asm.ISA) {
	// delta = softplus(dt), input = delta·u
	pass(v, "scanInputs", []int{fieldDT, fieldU}, nil, func(e *elementwise) {
		d := v.Softplus(e.load(e.column, fieldDT))
		e.store(d, e.field, delta)
		e.times(d, e.column, fieldU)
		e.store(d, e.field, input)
	})
	// the same, and slope = σ(dt)
	pass(v, "scanSlopes", []int{fieldDT, fieldU}, nil, func(e *elementwise) {
		d, s := v.SoftplusSlope(e.load(e.column, fieldDT))
		e.store(s, e.field, slope)
		e.store(d, e.field, delta)
		e.times(d, e.column, fieldU)
		e.store(d, e.field, input)
	})
	skip := func(e *elementwise) { e.vector(fieldSkip) }
	// y = out + D·u
	pass(v, "scanSkip", []int{fieldU, fieldY}, skip, func(e *elementwise) {
		y := e.load(e.field, out)
		e.plusProduct(y, e.load(e.column, fieldU), e.column, fieldSkip)
		e.store(y, e.column, fieldY)
	})
	// y = (out + D·u)·silu(z)
	pass(v, "scanGate", []int{fieldU, fieldZ, fieldY}, skip, func(e *elementwise) {
		y, z := e.load(e.field, out), e.load(e.column, fieldZ)
		e.plusProduct(y, e.load(e.column, fieldU), e.column, fieldSkip)
		for i := range y {
			VMULPS(z[i], y[i], y[i])
		}
		e.store(v.Gated(z, y), e.column, fieldY)
	})
	// gy = dy·silu(z), gz = dy·silu′(z)
	pass(v, "scanGateGrads", []int{fieldZ, fieldGy}, nil, func(e *elementwise) {
		z := e.load(e.column, fieldZ)
		s, t := v.Gated(z, nil), v.SplatRow(e.vectors, 1)
		for i := range s {
			VSUBPS(s[i], t[i], t[i])
			VMULPS(z[i], t[i], t[i])
			v.AddC(1, t[i], t[i])
			VMULPS(s[i], t[i], t[i])
			VMULPS(z[i], s[i], s[i])
		}
		e.times(t, e.column, fieldGy)
		e.store(t, e.field, gz)
		e.times(s, e.column, fieldGy)
		e.store(s, e.field, gy)
	})
	storeGrads(v)
}

// storeGrads emits, adding to a matrix or overwriting it,
//
//	du (+)= gy·D + sumB·Δ, ddt (+)= (sumB·u + sumA)·slope, dz (+)= gz·(out + D·u), dD += gy·u
func storeGrads(v asm.ISA) {
	add := map[int]reg.Register{}
	before := func(e *elementwise) {
		e.vector(fieldSkip)
		e.vector(fieldDSkip)
		for _, f := range []int{fieldAddU, fieldAddDT, fieldAddZ} {
			if v.Bytes == 64 {
				k := K()
				KMOVW(at(e.p, f), k)
				add[f] = k
			} else {
				m := v.Vec()
				VBROADCASTSS(at(e.p, f), m)
				add[f] = m
			}
		}
	}
	pass(v, "scanDeliver", []int{fieldU, fieldDU, fieldDDT, fieldDZ}, before, func(e *elementwise) {
		// previous returns what the columns c contain, or zeros if they are to be overwritten.
		previous := func(c, f int) asm.Row {
			r := e.NewRow(e.vectors)
			for i := range r {
				if v.Bytes == 64 {
					VMOVUPS_Z(e.column(c, i), add[f], r[i])
				} else {
					VMASKMOVPS(e.column(c, i), add[f], r[i])
				}
			}
			return r
		}
		g, b := e.load(e.field, gy), e.load(e.field, sumB)
		r := previous(fieldDU, fieldAddU)
		e.plusProduct(r, g, e.column, fieldSkip)
		e.plusProduct(r, b, e.field, delta)
		e.store(r, e.column, fieldDU)

		d := e.load(e.column, fieldDSkip)
		e.plusProduct(d, g, e.column, fieldU)
		e.store(d, e.column, fieldDSkip)

		u, t := e.load(e.column, fieldU), e.load(e.field, sumA)
		for i := range t {
			VFMADD231PS(u[i], b[i], t[i])
		}
		r = previous(fieldDDT, fieldAddDT)
		e.plusProduct(r, t, e.field, slope)
		e.store(r, e.column, fieldDDT)

		t = e.load(e.field, out)
		e.plusProduct(t, u, e.column, fieldSkip)
		r = previous(fieldDZ, fieldAddZ)
		e.plusProduct(r, t, e.field, gz)
		e.store(r, e.column, fieldDZ)
	})
}
