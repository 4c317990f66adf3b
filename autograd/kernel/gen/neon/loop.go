package main

import (
	"fmt"
	"slices"
	"strings"

	"mambatrain/autograd/kernel/gen/a64"
	"mambatrain/autograd/kernel/gen/vec"
)

// width returns how many vectors a loop processes at a time: two where four would need too many registers.
func width(long bool) int {
	if long {
		return 2
	}
	return 4
}

// loop implements vec.Loop.
type loop struct {
	isa
	width int
	ptrs  map[string]a64.X
	moves []string // the slices that the body reads or writes
}

// emitKernel emits k.
func emitKernel(file *a64.File, k vec.Kernel[a64.V]) {
	scalars, last := "", ""
	if k.Scalars != "" {
		scalars = ", " + k.Scalars + " float32"
	}
	if k.Strided != "" {
		last = ", ldw int"
	}
	f := file.Func(k.Name+"Neon", "func(n int, "+k.Slices+" *float32"+scalars+last+")"+k.Result)
	l := &loop{isa: newISA(f), width: width(k.Long), ptrs: map[string]a64.X{}}
	var s row
	if k.Scalars != "" {
		for _, c := range strings.Split(k.Scalars, ", ") {
			s = append(s, f.ParamV(c))
		}
	}
	before := func() {
		if k.Strided != "" {
			l.stride(k.Strided)
		}
		if k.Before != nil {
			k.Before(l)
		}
	}
	l.emit(strings.Split(k.Slices, ", "), before, func() { k.Body(l, s) })
	if k.After != nil {
		k.After(l)
	}
	f.RET()
}

// emit emits the loop over the function's argument n and the slices. before is emitted ahead of it.
func (l *loop) emit(slices []string, before, body func()) {
	n := l.Param("n")
	for _, p := range slices {
		l.ptrs[p] = l.Param(p)
	}
	before()
	l.Label("loop")
	body()
	for _, p := range l.moves {
		l.ADDI(l.ptrs[p], l.ptrs[p], 16*l.width)
	}
	l.SUBS(n, n, 4*l.width)
	l.Bcond("GT", "loop")
}

// stride adds three more slices, ldw elements apart.
func (l *loop) stride(name string) {
	ld, before := l.Param("ldw"), l.ptrs[name]
	l.LSLI(ld, ld, 2)
	for i := 1; i < 4; i++ {
		p := l.X()
		l.ADD(p, before, ld)
		l.ptrs[fmt.Sprint(name, i)], before = p, p
	}
}

// at returns the address of a slice's current elements.
func (l *loop) at(slice string) a64.X {
	if !slices.Contains(l.moves, slice) {
		l.moves = append(l.moves, slice)
	}
	return l.ptrs[slice]
}

func (l *loop) Load(slice string) row     { return l.load(l.width, l.at(slice), 0) }
func (l *loop) Store(x row, slice string) { l.store(x, l.at(slice), 0) }

func (l *loop) AddFrom(slice string, x row) {
	y := l.Load(slice)
	x.Each(func(i int) { l.FADD(x[i], x[i], y[i]) })
}

func (l *loop) MulFrom(slice string, x, dst row) {
	y := l.Load(slice)
	x.Each(func(i int) { l.FMUL(dst[i], x[i], y[i]) })
}

func (l *loop) MulAddFrom(slice string, x, acc row) {
	y := l.Load(slice)
	x.Each(func(i int) { l.FMLA(acc[i], x[i], y[i]) })
}

func (l *loop) NegMulAddFrom(slice string, x, acc row) {
	y := l.Load(slice)
	x.Each(func(i int) { l.FMLS(acc[i], x[i], y[i]) })
}

func (l *loop) MaxFrom(slice string, top row) {
	y := l.Load(slice)
	top.Each(func(i int) { l.FMAX(top[i], top[i], y[i]) })
}

func (l *loop) Field(slice string, i int) a64.V {
	v, all := l.V(), l.V()
	l.LDS(v, l.ptrs[slice], 4*i)
	l.Dup(all, v, 0)
	return all
}

func (l *loop) Sums() row     { return l.zeros(l.width) }
func (l *loop) WideSums() row { return l.zeros(4) }

func (l *loop) DotFrom(a, b string, sums row) { l.dotWide(l.Load(a), l.Load(b), sums) }

func (l *loop) ScaledDotFrom(a, b, c string, sums row) {
	x := l.Load(a)
	l.MulFrom(b, x, x)
	l.dotWide(x, l.Load(c), sums)
}

// dotWide adds the products of x and y to sums, in float64.
func (v isa) dotWide(x, y, sums row) {
	x.Each(func(i int) {
		a, b, c, d := v.V(), v.V(), v.V(), v.V()
		v.FCVTL(a, x[i])
		v.FCVTL(b, y[i])
		v.FCVTL2(c, x[i])
		v.FCVTL2(d, y[i])
		v.FMLAD(sums[i%2*2], a, b)
		v.FMLAD(sums[i%2*2+1], c, d)
	})
}

// foldWide adds up four vectors of float64 into lane 0 of the first, which it returns.
func (v isa) foldWide(sums row) a64.V {
	v.FADDD(sums[0], sums[0], sums[2])
	v.FADDD(sums[1], sums[1], sums[3])
	v.FADDD(sums[0], sums[0], sums[1])
	v.FADDPD(sums[0], sums[0])
	return sums[0]
}

func (l *loop) ReturnSum(sums row)     { l.Result("ret", l.fold(sums)) }
func (l *loop) ReturnWideSum(sums row) { l.Result("ret", l.foldWide(sums)) }

func (l *loop) ReturnMax(top row) {
	for _, x := range top[1:] {
		l.FMAX(top[0], top[0], x)
	}
	l.FMAXV(top[0], top[0])
	l.Result("ret", top[0])
}
