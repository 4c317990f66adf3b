package main

import (
	"slices"

	"mambatrain/autograd/kernel/gen/a64"
	"mambatrain/autograd/kernel/gen/vec"
)

// recordBias is the distance of the pointer to a record from its start, so that loads and stores of pairs reach all fields.
const recordBias = 1024

// channels implements vec.Channels.
type channels struct {
	isa
	width   int
	row     a64.X // the record, plus recordBias
	columns map[int]a64.X
	add     map[int]a64.V // by column, see vec.AddFlag
}

// emitPass emits a pass of the scan.
func emitPass(file *a64.File, p vec.Pass[a64.V]) {
	f := file.Func(p.Name+"Neon", "func(p *byte)")
	args := f.Param("p")
	e := &channels{isa: newISA(f), width: width(p.Long), columns: map[int]a64.X{}, add: map[int]a64.V{}}
	n := field(f, args, vec.FieldRows)
	e.row = field(f, args, vec.FieldRow)
	f.ADDI(e.row, e.row, recordBias)
	all := slices.Concat(p.Columns, p.Vectors)
	for _, c := range all {
		e.columns[c] = field(f, args, c)
	}
	if p.Adds {
		for _, c := range []int{vec.FieldDU, vec.FieldDDT, vec.FieldDZ} {
			e.add[c] = mask(f, args, vec.AddFlag[c])
		}
	}
	left, stride := f.X(), f.X()
	f.Label("row")
	f.MOVI(left, vec.BlockBytes/16/e.width)
	f.Label("columns")
	p.Body(e)
	f.ADDI(e.row, e.row, 16*e.width)
	for _, c := range all {
		f.ADDI(e.columns[c], e.columns[c], 16*e.width)
	}
	f.SUBI(left, left, 1)
	f.CBNZ(left, "columns")
	f.ADDI(e.row, e.row, vec.RecordBytes-vec.BlockBytes)
	for _, c := range all {
		f.SUBI(e.columns[c], e.columns[c], vec.BlockBytes)
	}
	for _, c := range p.Columns {
		f.LDX(stride, args, c+8)
		f.ADD(e.columns[c], e.columns[c], stride)
	}
	f.SUBI(n, n, 1)
	f.CBNZ(n, "row")
	f.RET()
}

// field loads a field of the arguments that p points to.
func field(f *a64.Func, p a64.X, at int) a64.X {
	x := f.X()
	f.LDX(x, p, at)
	return x
}

// mask fills a vector with a field that has all bits set, or none.
func mask(f *a64.Func, p a64.X, at int) a64.V {
	v, all := f.V(), f.V()
	f.LDS(v, p, at)
	f.Dup(all, v, 0)
	return all
}

// at returns the address of a place: a base and an offset.
func (e *channels) at(p vec.Place) (base a64.X, offset int) {
	if p.Column {
		return e.columns[p.Field], 0
	}
	return e.row, p.Field - recordBias
}

func (e *channels) LoadAt(p vec.Place) row {
	base, offset := e.at(p)
	return e.load(e.width, base, offset)
}

func (e *channels) StoreAt(x row, p vec.Place) {
	base, offset := e.at(p)
	e.store(x, base, offset)
}

func (e *channels) MulAt(p vec.Place, x row) {
	y := e.LoadAt(p)
	x.Each(func(i int) { e.FMUL(x[i], x[i], y[i]) })
}

func (e *channels) MulAddAt(p vec.Place, x, acc row) {
	y := e.LoadAt(p)
	x.Each(func(i int) { e.FMLA(acc[i], x[i], y[i]) })
}

func (e *channels) Previous(column int) row {
	r := e.LoadAt(vec.Place{Column: true, Field: column})
	r.Each(func(i int) { e.AND(r[i], r[i], e.add[column]) })
	return r
}
