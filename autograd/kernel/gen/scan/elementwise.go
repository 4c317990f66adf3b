package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
	"mambatrain/autograd/kernel/gen/vec"
)

// elementwise implements vec.Channels.
type elementwise struct {
	asm.ISA
	args
	vectors int
	row     reg.Register
	columns map[int]reg.GPVirtual
	col     reg.GPVirtual
	add     map[int]reg.Register // by column, see vec.AddFlag
}

// emitPass emits a pass, several vectors of channels at a time.
func emitPass(v asm.ISA, p vec.Pass[reg.VecVirtual]) {
	e := &elementwise{ISA: v, args: head(p.Name, v.Suffix), vectors: 1, columns: map[int]reg.GPVirtual{}, col: GP64()}
	if v.Bytes == 64 {
		e.vectors = 4
	}
	n := e.get(vec.FieldRows)
	e.row = e.get(vec.FieldRow)
	for _, c := range append(append([]int(nil), p.Columns...), p.Vectors...) {
		e.columns[c] = e.get(c)
	}
	if p.Adds {
		e.loadFlags()
	}
	Label("row")
	for _, c := range p.Columns {
		e.fetch(c)
	}
	XORQ(e.col, e.col)
	Label("columns")
	p.Body(e)
	ADDQ(U32(e.vectors*v.Bytes), e.col)
	CMPQ(e.col, U32(vec.BlockBytes))
	JLT(LabelRef("columns"))
	ADDQ(U32(vec.RecordBytes), e.row)
	for _, c := range p.Columns {
		ADDQ(at(e.p, c+8), e.columns[c])
	}
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// loadFlags loads the flags of the columns that may be added to.
func (e *elementwise) loadFlags() {
	e.add = map[int]reg.Register{}
	for _, c := range []int{vec.FieldDU, vec.FieldDDT, vec.FieldDZ} {
		if e.Bytes == 64 {
			k := K()
			KMOVW(at(e.p, vec.AddFlag[c]), k)
			e.add[c] = k
		} else {
			m := e.Vec()
			VBROADCASTSS(at(e.p, vec.AddFlag[c]), m)
			e.add[c] = m
		}
	}
}

// fetch prefetches a matrix's columns two rows ahead. They are in the second-level cache already, see args.prefetch, but its latency is too
// long for a pass of so few instructions.
func (e *elementwise) fetch(c int) {
	p := reg.RAX // which PREFETCHWAX reads
	MOVQ(at(e.p, c+8), p)
	LEAQ(Mem{Base: e.columns[c], Index: p, Scale: 2}, p)
	for i := 0; i < vec.BlockBytes; i += 64 {
		if c < vec.FieldY {
			PREFETCHT0(Mem{Base: p})
		} else {
			asm.PREFETCHWAX(0)
		}
		ADDQ(U8(64), p)
	}
}

// at addresses vector i at p.
func (e *elementwise) at(p vec.Place, i int) Mem {
	if p.Column {
		return Mem{Base: e.columns[p.Field], Index: e.col, Scale: 1, Disp: i * e.Bytes}
	}
	return Mem{Base: e.row, Index: e.col, Scale: 1, Disp: p.Field + i*e.Bytes}
}

func (e *elementwise) LoadAt(p vec.Place) asm.Row {
	r := vec.NewRow(e.ISA, e.vectors)
	r.Each(func(i int) { VMOVUPS(e.at(p, i), r[i]) })
	return r
}

func (e *elementwise) StoreAt(x asm.Row, p vec.Place) {
	x.Each(func(i int) { VMOVUPS(x[i], e.at(p, i)) })
}

func (e *elementwise) MulAt(p vec.Place, x asm.Row) {
	x.Each(func(i int) { VMULPS(e.at(p, i), x[i], x[i]) })
}

func (e *elementwise) MulAddAt(p vec.Place, x, acc asm.Row) {
	x.Each(func(i int) { VFMADD231PS(e.at(p, i), x[i], acc[i]) })
}

func (e *elementwise) Previous(column int) asm.Row {
	r := vec.NewRow(e.ISA, e.vectors)
	r.Each(func(i int) {
		m := e.at(vec.Place{Column: true, Field: column}, i)
		if e.Bytes == 64 {
			VMOVUPS_Z(m, e.add[column], r[i])
		} else {
			VMASKMOVPS(m, e.add[column], r[i])
		}
	})
	return r
}
