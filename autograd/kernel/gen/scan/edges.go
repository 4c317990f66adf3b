package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

// Offsets of scanEdge's fields, in their order. The first eight after the record are matrices' columns: an address and the
// distance of rows in bytes; from edgeY on they are written.
const (
	edgeRows = 8 * iota
	edgeRow
	edgeDT
	_
	edgeU
	_
	edgeZ
	_
	edgeGy
	_
	edgeY
	_
	edgeDU
	_
	edgeDDT
	_
	edgeDZ
	_
	edgeSkip
	edgeDSkip
	edgeKeepU
	edgeKeepDT
	edgeKeepZ
)

// edge is one elementwise pass under construction: a loop over rows, and within it over the block's channels, some vectors
// at a time.
type edge struct {
	asm.ISA
	args
	vectors int
	row     reg.Register
	columns map[int]reg.GPVirtual
	col     reg.GPVirtual
}

// pass emits a pass over the given columns; before runs ahead of the loop.
func pass(v asm.ISA, name string, columns []int, before func(e *edge), body func(e *edge)) {
	e := &edge{ISA: v, args: head(name, v.Suffix), vectors: 1, columns: map[int]reg.GPVirtual{}, col: GP64()}
	if v.Bytes == 64 {
		e.vectors = 4
	}
	n := e.get(edgeRows)
	e.row = e.get(edgeRow)
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

// fetch asks for a matrix's columns two rows ahead. They should be in the second-level cache, see args.prefetch, whose latency
// is too much for a pass of so few instructions.
func (e *edge) fetch(c int) {
	p := reg.RAX // known to the instruction that is encoded by hand
	MOVQ(at(e.p, c+8), p)
	LEAQ(Mem{Base: e.columns[c], Index: p, Scale: 2}, p)
	for i := 0; i < blockBytes; i += 64 {
		if c < edgeY {
			PREFETCHT0(Mem{Base: p})
		} else {
			asm.PREFETCHWAX(0)
		}
		ADDQ(U8(64), p)
	}
}

// field addresses vector i of a field of the record.
func (e *edge) field(f, i int) Mem {
	return Mem{Base: e.row, Index: e.col, Scale: 1, Disp: f + i*e.Bytes}
}

// column addresses vector i of a matrix's row.
func (e *edge) column(c, i int) Mem {
	return Mem{Base: e.columns[c], Index: e.col, Scale: 1, Disp: i * e.Bytes}
}

func (e *edge) load(m func(f, i int) Mem, f int) asm.Row {
	r := e.NewRow(e.vectors)
	for i := range r {
		VMOVUPS(m(f, i), r[i])
	}
	return r
}

func (e *edge) store(r asm.Row, m func(f, i int) Mem, f int) {
	for i := range r {
		VMOVUPS(r[i], m(f, i))
	}
}

// times multiplies r by what is in memory.
func (e *edge) times(r asm.Row, m func(f, i int) Mem, f int) {
	for i := range r {
		VMULPS(m(f, i), r[i], r[i])
	}
}

// plusProduct adds x times what is in memory to r.
func (e *edge) plusProduct(r, x asm.Row, m func(f, i int) Mem, f int) {
	for i := range r {
		VFMADD231PS(m(f, i), x[i], r[i])
	}
}

// vector gives a pass another pointer, to a vector as long as the block is wide.
func (e *edge) vector(f int) { e.columns[f] = e.get(f) }

func edges(v asm.ISA) {
	// Δ = softplus(dt), input = Δ·u
	pass(v, "scanInputs", []int{edgeDT, edgeU}, nil, func(e *edge) {
		d := v.Softplus(e.load(e.column, edgeDT))
		e.store(d, e.field, delta)
		e.times(d, e.column, edgeU)
		e.store(d, e.field, input)
	})
	// the same, and slope = σ(dt)
	pass(v, "scanSlopes", []int{edgeDT, edgeU}, nil, func(e *edge) {
		d, s := v.SoftplusSlope(e.load(e.column, edgeDT))
		e.store(s, e.field, slope)
		e.store(d, e.field, delta)
		e.times(d, e.column, edgeU)
		e.store(d, e.field, input)
	})
	skip := func(e *edge) { e.vector(edgeSkip) }
	// y = out + D·u
	pass(v, "scanSkip", []int{edgeU, edgeY}, skip, func(e *edge) {
		y := e.load(e.field, out)
		e.plusProduct(y, e.load(e.column, edgeU), e.column, edgeSkip)
		e.store(y, e.column, edgeY)
	})
	// y = (out + D·u)·silu(z)
	pass(v, "scanGate", []int{edgeU, edgeZ, edgeY}, skip, func(e *edge) {
		y, z := e.load(e.field, out), e.load(e.column, edgeZ)
		e.plusProduct(y, e.load(e.column, edgeU), e.column, edgeSkip)
		for i := range y {
			VMULPS(z[i], y[i], y[i])
		}
		e.store(v.Gated(z, y), e.column, edgeY)
	})
	// gy = dy·silu(z), gz = dy·silu′(z)
	pass(v, "scanGateGrads", []int{edgeZ, edgeGy}, nil, func(e *edge) {
		z := e.load(e.column, edgeZ)
		s, t := v.Gated(z, nil), v.SplatRow(e.vectors, 1)
		for i := range s {
			VSUBPS(s[i], t[i], t[i])
			VMULPS(z[i], t[i], t[i])
			v.AddC(1, t[i], t[i])
			VMULPS(s[i], t[i], t[i])
			VMULPS(z[i], s[i], s[i])
		}
		e.times(t, e.column, edgeGy)
		e.store(t, e.field, gz)
		e.times(s, e.column, edgeGy)
		e.store(s, e.field, gy)
	})
	deliver(v)
}

// deliver emits, with + where a matrix is to be kept and = where it is fresh,
//
//	du (+)= gy·D + sumB·Δ, ddt (+)= (sumB·u + sumA)·slope, dz (+)= gz·(out + D·u), dD += gy·u
func deliver(v asm.ISA) {
	keep := map[int]reg.Register{}
	before := func(e *edge) {
		e.vector(edgeSkip)
		e.vector(edgeDSkip)
		for _, f := range []int{edgeKeepU, edgeKeepDT, edgeKeepZ} {
			if v.Bytes == 64 {
				k := K()
				KMOVW(at(e.p, f), k)
				keep[f] = k
			} else {
				m := v.Vec()
				VBROADCASTSS(at(e.p, f), m)
				keep[f] = m
			}
		}
	}
	pass(v, "scanDeliver", []int{edgeU, edgeDU, edgeDDT, edgeDZ}, before, func(e *edge) {
		kept := func(c, f int) asm.Row {
			r := e.NewRow(e.vectors)
			for i := range r {
				if v.Bytes == 64 {
					VMOVUPS_Z(e.column(c, i), keep[f], r[i])
				} else {
					VMASKMOVPS(e.column(c, i), keep[f], r[i])
				}
			}
			return r
		}
		g, b := e.load(e.field, gy), e.load(e.field, sumB)
		r := kept(edgeDU, edgeKeepU)
		e.plusProduct(r, g, e.column, edgeSkip)
		e.plusProduct(r, b, e.field, delta)
		e.store(r, e.column, edgeDU)

		d := e.load(e.column, edgeDSkip)
		e.plusProduct(d, g, e.column, edgeU)
		e.store(d, e.column, edgeDSkip)

		u, t := e.load(e.column, edgeU), e.load(e.field, sumA)
		for i := range t {
			VFMADD231PS(u[i], b[i], t[i])
		}
		r = kept(edgeDDT, edgeKeepDT)
		e.plusProduct(r, t, e.field, slope)
		e.store(r, e.column, edgeDDT)

		t = e.load(e.field, out)
		e.plusProduct(t, u, e.column, edgeSkip)
		r = kept(edgeDZ, edgeKeepZ)
		e.plusProduct(r, t, e.field, gz)
		e.store(r, e.column, edgeDZ)
	})
}
