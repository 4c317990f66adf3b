package asm

import (
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/vec"
)

// Loop implements vec.Loop: a loop over n elements under construction, which processes one vector at a time.
type Loop struct {
	ISA
	n    reg.Register
	ptrs map[string]reg.Register
	off  reg.Register
}

// EmitKernel emits k.
func EmitKernel(v ISA, k vec.Kernel[reg.VecVirtual]) {
	scalars, last, name := "", "", k.Name
	if k.Scalars != "" {
		scalars = ", " + k.Scalars + " float32"
	}
	if k.Strided != "" {
		last, name = ", ldw int", name+"_"
	}
	TEXT(name+v.Suffix, NOSPLIT, "func(n int, "+k.Slices+" *float32"+scalars+last+")"+k.Result)
	Pragma("noescape")
	l := &Loop{v, Load(Param("n"), GP64()), map[string]reg.Register{}, GP64()}
	for _, p := range strings.Split(k.Slices, ", ") {
		l.ptrs[p] = Load(Param(p), GP64())
	}
	var s Row
	if k.Scalars != "" {
		for _, c := range strings.Split(k.Scalars, ", ") {
			s = append(s, v.Broadcast(c))
		}
	}
	SHLQ(U8(2), l.n)
	XORQ(l.off, l.off)
	if k.Strided != "" {
		l.stride(k.Strided)
	}
	if k.Before != nil {
		k.Before(l)
	}
	Label("loop")
	k.Body(l, s)
	l.Next("loop")
	if k.After != nil {
		k.After(l)
	}
	VZEROUPPER()
	RET()
}

// Broadcast returns a vector filled with the scalar argument called name.
func (v ISA) Broadcast(name string) reg.VecVirtual {
	a, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	r := v.Vec()
	VBROADCASTSS(a.Addr, r)
	return r
}

// Next moves to the next vector, and jumps to the label unless it was the last.
func (l *Loop) Next(label string) {
	ADDQ(U8(l.Bytes), l.off)
	CMPQ(l.off, l.n)
	JLT(LabelRef(label))
}

// stride adds three more slices, ldw elements apart.
func (l *Loop) stride(name string) {
	ld := Load(Param("ldw"), GP64())
	SHLQ(U8(2), ld)
	before := l.ptrs[name]
	for _, digit := range []string{"1", "2", "3"} {
		p := GP64()
		MOVQ(before, p)
		ADDQ(ld, p)
		l.ptrs[name+digit], before = p, p
	}
}

// at addresses the current elements of a slice.
func (l *Loop) at(name string) Mem { return Mem{Base: l.ptrs[name], Index: l.off, Scale: 1} }

func (l *Loop) half(name string, i int) Mem {
	m := l.at(name)
	m.Disp += i * l.Bytes / 2
	return m
}

func (l *Loop) Load(slice string) Row {
	r := l.Vec()
	VMOVUPS(l.at(slice), r)
	return Row{r}
}

func (l *Loop) Store(x Row, slice string)              { VMOVUPS(x[0], l.at(slice)) }
func (l *Loop) AddFrom(slice string, x Row)            { VADDPS(l.at(slice), x[0], x[0]) }
func (l *Loop) MulFrom(slice string, x, dst Row)       { VMULPS(l.at(slice), x[0], dst[0]) }
func (l *Loop) MulAddFrom(slice string, x, acc Row)    { VFMADD231PS(l.at(slice), x[0], acc[0]) }
func (l *Loop) NegMulAddFrom(slice string, x, acc Row) { VFNMADD231PS(l.at(slice), x[0], acc[0]) }
func (l *Loop) MaxFrom(slice string, top Row)          { VMAXPS(l.at(slice), top[0], top[0]) }
func (l *Loop) Sums() Row                              { return Row{l.Zero()} }
func (l *Loop) WideSums() Row                          { return Row{l.Zero(), l.Zero()} }

func (l *Loop) Field(slice string, i int) reg.VecVirtual {
	r := l.Vec()
	VBROADCASTSS(Mem{Base: l.ptrs[slice], Disp: 4 * i}, r)
	return r
}

func (l *Loop) DotFrom(a, b string, sums Row) {
	sums.Each(func(i int) {
		x, y := l.Vec(), l.Vec()
		VCVTPS2PD(l.half(a, i), x)
		VCVTPS2PD(l.half(b, i), y)
		VFMADD231PD(x, y, sums[i])
	})
}

func (l *Loop) ScaledDotFrom(a, b, c string, sums Row) {
	sums.Each(func(i int) {
		x, y, z := l.halfVec(), l.Vec(), l.Vec()
		VMOVUPS(l.half(a, i), x)
		VMULPS(l.half(b, i), x, x)
		VCVTPS2PD(x, y)
		VCVTPS2PD(l.half(c, i), z)
		VFMADD231PD(y, z, sums[i])
	})
}

func (l *Loop) halfVec() reg.VecVirtual {
	if l.wide() {
		return YMM()
	}
	return XMM()
}

func (l *Loop) ReturnSum(sums Row) {
	Store(Fold(l.ISA, sums[0], func(a, b, d Op) { VADDPS(a, b, d) }, false), ReturnIndex(0))
}

func (l *Loop) ReturnWideSum(sums Row) {
	VADDPD(sums[0], sums[1], sums[0])
	Store(Fold(l.ISA, sums[0], func(a, b, d Op) { VADDPD(a, b, d) }, true), ReturnIndex(0))
}

func (l *Loop) ReturnMax(top Row) {
	Store(Fold(l.ISA, top[0], func(a, b, d Op) { VMAXPS(a, b, d) }, false), ReturnIndex(0))
}
