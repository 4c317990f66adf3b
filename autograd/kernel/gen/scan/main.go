// Command scan writes the selective scan's inner loops: the recurrence of one group of channels, a vector wide, over rows of
// one document (p points to a scanArgs, see scan_vector.go), and the elementwise passes before and after it over the 64 channels
// of a block (p points to a scanElementwise).
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
	"mambatrain/autograd/kernel/gen/vec"
)

// stateBytes is the distance between states in arrays of states: a group is 16 channels wide, two vectors of AVX2. Where states are stored
// row by row, each is followed by its exponential.
const stateBytes = 64

// args is the address of a kernel's arguments.
type args struct{ p reg.Register }

// head begins a kernel.
func head(name, suffix string) args {
	TEXT(name+"_"+suffix, NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	return args{Load(Param("p"), GP64())}
}

// get loads the field at an offset.
func (a args) get(offset int) reg.GPVirtual {
	r := GP64()
	MOVQ(Mem{Base: a.p, Disp: offset}, r)
	return r
}

func main() {
	ConstraintExpr("amd64")
	for _, v := range []asm.ISA{asm.AVX512, asm.AVX2} {
		forward(v, 8, false)
		forward(v, 8, true)
		if v.Lanes == 16 {
			forward(v, 16, false)
			forward(v, 16, true)
			backward(v, 16, false)
			backward(v, 16, true)
		}
		backward(v, v.Lanes/2, false)
		backward(v, v.Lanes/2, true)
		for _, p := range vec.Passes[reg.VecVirtual]() {
			emitPass(v, p)
		}
		step(v)
	}
	Generate()
}

// step emits one row for 16 contiguous states of each channel: h = exp(−exp(A_log)·Δ)·h + in·B, y = Σ C·h.
func step(v asm.ISA) {
	TEXT("step16_"+v.Suffix, NOSPLIT, "func(d int, y, h, alog, delta, in, b, c *float32)")
	Pragma("noescape")
	load := func(name string) reg.Register { return Load(Param(name), GP64()) }
	d, yp, hp, ap, dp, ip, bp, cp := load("d"), load("y"), load("h"), load("alog"), load("delta"), load("in"), load("b"), load("c")
	vectors := 16 / v.Lanes
	bs, cs := make([]reg.VecVirtual, vectors), make([]reg.VecVirtual, vectors)
	for i := range bs {
		bs[i], cs[i] = v.Vec(), v.Vec()
		VMOVUPS(Mem{Base: bp, Disp: i * v.Bytes}, bs[i])
		VMOVUPS(Mem{Base: cp, Disp: i * v.Bytes}, cs[i])
	}
	Label("channel")
	delta, in, sum := v.Vec(), v.Vec(), v.Zero()
	VBROADCASTSS(Mem{Base: dp}, delta)
	v.MulC(-math.Log2E, delta, delta)
	VBROADCASTSS(Mem{Base: ip}, in)
	for i := range bs {
		x, w := v.Vec(), v.Vec()
		VMOVUPS(Mem{Base: ap, Disp: i * v.Bytes}, x)
		x = vec.Exp(v, asm.Row{x})[0]
		VMULPS(delta, x, x)
		x = v.Exp2(x)
		VMULPS(bs[i], in, w)
		VFMADD231PS(Mem{Base: hp, Disp: i * v.Bytes}, x, w)
		VMOVUPS(w, Mem{Base: hp, Disp: i * v.Bytes})
		VFMADD231PS(cs[i], w, sum)
	}
	VMOVSS(asm.Fold(v, sum, func(a, b, d Op) { VADDPS(a, b, d) }, false), Mem{Base: yp})
	for _, p := range []reg.Register{yp, dp, ip} {
		ADDQ(U8(4), p)
	}
	ADDQ(U8(64), hp)
	ADDQ(U8(64), ap)
	DECQ(d)
	JNZ(LabelRef("channel"))
	VZEROUPPER()
	RET()
}
