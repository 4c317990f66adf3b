package asm

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/vec"
)

// Blocks implements vec.Blocks with AVX2.
type Blocks struct {
	ISA
	w, x, y reg.Register
	bytes   int            // of a block
	masks   map[uint32]Row // in registers
	stack   reg.Register   // 96 bytes, aligned to 32, so that no load spans two stores
}

// newBlocks returns a function under construction after its arguments have been loaded.
func newBlocks(t vec.BlockType[reg.VecVirtual], w, x, y reg.Register) *Blocks {
	stack := GP64()
	LEAQ(AllocLocal(128), stack)
	ADDQ(U8(31), stack)
	ANDQ(I8(-32), stack)
	return &Blocks{AVX2, w, x, y, t.Bytes, map[uint32]Row{}, stack}
}

// dotAhead is how many bytes ahead the blocks are prefetched.
const dotAhead = 2048

// EmitDot emits, for n rows of the given number of blocks, y[r] = Σ w[r]·x. The rows are stride bytes apart.
func EmitDot(t vec.BlockType[reg.VecVirtual]) {
	TEXT("dot"+t.Name+"_256", NOSPLIT, "func(n int, w *byte, stride, blocks int, x, y *float32)")
	Pragma("noescape")
	n, row, stride := Load(Param("n"), GP64()), Load(Param("w"), GP64()), Load(Param("stride"), GP64())
	blocks, x, y := Load(Param("blocks"), GP64()), Load(Param("x"), GP64()), Load(Param("y"), GP64())
	left := GP64()
	b := newBlocks(t, GP64(), GP64(), nil)
	for _, m := range t.Masks {
		b.masks[m] = b.Mask(m)
	}
	sums := t.NewSums(b)
	Label("row")
	sums.Clear(b)
	MOVQ(row, b.w)
	MOVQ(x, b.x)
	MOVQ(blocks, left)
	Label("block")
	for d := 0; d < t.Bytes; d += 64 {
		PREFETCHT0(b.at(dotAhead + d))
	}
	t.Dot(b, sums)
	ADDQ(U32(t.Bytes), b.w)
	ADDQ(U32(32*t.Rows), b.x)
	DECQ(left)
	JNZ(LabelRef("block"))
	VMOVSS(Fold(AVX2, sums.Result(b)[0], func(a, b, d Op) { VADDPS(a, b, d) }, false), Mem{Base: y})
	ADDQ(stride, row)
	ADDQ(U8(4), y)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// EmitStrip emits y[r·ldy + i] = value i of a strip of row r, for n rows whose blocks are stride bytes apart. strip is its number in the
// block.
func EmitStrip(t vec.BlockType[reg.VecVirtual]) {
	TEXT("strip"+t.Name+"_256", NOSPLIT, "func(n int, w *byte, stride, strip int, y *float32, ldy int)")
	Pragma("noescape")
	w, n, stride, strip := Load(Param("w"), GP64()), Load(Param("n"), GP64()), Load(Param("stride"), GP64()), Load(Param("strip"), GP64())
	y, ldy := Load(Param("y"), GP64()), Load(Param("ldy"), GP64())
	b := newBlocks(t, w, nil, y)
	SHLQ(U8(2), ldy)
	for j := 1; j < t.Strips; j++ {
		CMPQ(strip, U8(j))
		JEQ(LabelRef(fmt.Sprint("strip", j)))
	}
	for j := range t.Strips {
		label := fmt.Sprint("strip", j)
		Label(label)
		t.ReadStrip(b, j)
		ADDQ(stride, b.w)
		ADDQ(ldy, b.y)
		DECQ(n)
		JNZ(LabelRef(label))
		VZEROUPPER()
		RET()
	}
}

func (b *Blocks) at(offset int) Mem    { return Mem{Base: b.w, Disp: offset} }
func (b *Blocks) xAt(i int) Mem        { return Mem{Base: b.x, Disp: 32 * i} }
func (b *Blocks) slot(offset int) Mem  { return Mem{Base: b.stack, Disp: offset} }
func (b *Blocks) Zeros() Row           { return Row{b.Zero()} }
func (b *Blocks) Mask(bits uint32) Row { return b.load(ConstBits(bits)) }
func (b *Blocks) X(i int) Row          { return b.load(b.xAt(i)) }
func (b *Blocks) Y(i int, v Row)       { VMOVUPS(v[0], Mem{Base: b.y, Disp: 32 * i}) }
func (b *Blocks) Bytes(offset int) Row { return b.load(b.at(offset)) }
func (b *Blocks) MulX(i int, v, dst Row) {
	VMULPS(b.xAt(i), v[0], dst[0])
}

func (b *Blocks) MulAddX(i int, v, acc Row) {
	VFMADD231PS(b.xAt(i), v[0], acc[0])
}

func (b *Blocks) load(m Mem) Row {
	r := b.Vec()
	VMOVDQU(m, r)
	return Row{r}
}

func (b *Blocks) Nibbles(offset int) Row {
	r := b.Vec()
	VBROADCASTI128(b.at(offset), r)
	VPSRLVD(table("nibbleShifts", 0, 0, 0, 0, 4, 4, 4, 4), r, r)
	return Row{r}
}

func (b *Blocks) SpreadBits(offset int, bit byte) Row {
	r, bits := b.Vec(), table("byteBits", 0x08040201, 0x80402010, 0x08040201, 0x80402010, 0x08040201, 0x80402010, 0x08040201, 0x80402010)
	VPBROADCASTD(b.at(offset), r)
	VPSHUFB(table("bytesByBit", 0, 0, 0x01010101, 0x01010101, 0x02020202, 0x02020202, 0x03030303, 0x03030303), r, r)
	VPAND(bits, r, r)
	VPCMPEQB(bits, r, r)
	return b.AndBits(uint32(bit)*0x01010101, Row{r})
}

func (b *Blocks) And(x, y Row) Row {
	r := b.Vec()
	VPAND(x[0], y[0], r)
	return Row{r}
}

func (b *Blocks) AndBits(bits uint32, x Row) Row {
	if m, ok := b.masks[bits]; ok {
		return b.And(m, x)
	}
	r := b.Vec()
	VPAND(ConstBits(bits), x[0], r)
	return Row{r}
}

func (b *Blocks) Or(x, y Row) Row {
	r := b.Vec()
	VPOR(x[0], y[0], r)
	return Row{r}
}

func (b *Blocks) ShiftRight(n int, x Row) Row {
	if n == 0 {
		return x
	}
	r := b.Vec()
	if n > 0 {
		VPSRLD(U8(n), x[0], r)
	} else {
		VPSLLD(U8(-n), x[0], r)
	}
	return Row{r}
}

func (b *Blocks) SubBytes(c byte, x Row) Row {
	r := b.Vec()
	VPSUBB(ConstBits(uint32(c)*0x01010101), x[0], r)
	return Row{r}
}

func (b *Blocks) Floats(x Row) Row {
	VCVTDQ2PS(x[0], x[0])
	return x
}

// Widen goes through memory: extending bytes takes one instruction from there, but three from a register.
func (b *Blocks) Widen(x Row) []Row {
	VMOVDQU(x[0], b.slot(64))
	return b.extend(b.slot(64))
}

func (b *Blocks) SignedBytes(offset int) []Row { return b.extend(b.at(offset)) }

// extend returns 32 signed bytes in memory as integers.
func (b *Blocks) extend(m Mem) []Row {
	r := make([]Row, 4)
	for i := range r {
		v := b.Vec()
		VPMOVSXBD(m.Offset(8*i), v)
		r[i] = Row{v}
	}
	return r
}

func (b *Blocks) Numbers(offset int) Row { return b.load(b.at(offset)) }

func (b *Blocks) BFloats(offset int) Row {
	r := b.Vec()
	VPMOVZXWD(b.at(offset), r)
	VPSLLD(U8(16), r, r)
	return Row{r}
}

func (b *Blocks) Halves(offset int) Row {
	r := b.Vec()
	VCVTPH2PS(b.at(offset), r)
	return Row{r}
}

func (b *Blocks) Half(offset int) Row {
	h, r := XMM(), b.Vec()
	if offset+8 <= b.bytes { // four numbers are converted
		VCVTPH2PS(b.at(offset), h)
		VBROADCASTSS(h, r)
	} else {
		VPBROADCASTW(b.at(offset), h)
		VCVTPH2PS(h, r)
	}
	return Row{r}
}

// SixBits puts the 12 bytes in order: scales 0 to 3 and 4 to 7, then the minima.
func (b *Blocks) SixBits(offset int) (scales, mins Row) {
	h, t, u := XMM(), XMM(), XMM()
	VMOVDQU(b.at(offset-4), h)
	VPSHUFD(U8(0xa5), h, t)
	VPSRLVD(table("highShifts", 0, 2, 0, 2), t, t)
	VPAND(table("highBits", 0x3f3f3f3f, 0x30303030, 0x3f3f3f3f, 0x30303030), t, t)
	VPSHUFD(U8(0xff), h, u)
	VPSRLVD(table("lowShifts", 0, 0, 0, 4), u, u)
	VPAND(table("lowBits", 0, 0x0f0f0f0f, 0, 0x0f0f0f0f), u, u)
	VPOR(t, u, t)
	s, m := b.Vec(), b.Vec()
	VPMOVZXBD(t, s)
	VPSHUFD(U8(0xee), t, t)
	VPMOVZXBD(t, m)
	VCVTDQ2PS(s, s)
	VCVTDQ2PS(m, m)
	return Row{s}, Row{m}
}

func (b *Blocks) Signed(offset int) (r [2]Row) {
	for i := range r {
		v := b.Vec()
		VPMOVSXBD(b.at(offset+8*i), v)
		VCVTDQ2PS(v, v)
		r[i] = Row{v}
	}
	return r
}

// Lanes stores x, so that the results of its functions are loads.
func (b *Blocks) Lanes(x ...Row) (one, pair func(i int) Row) {
	for i, v := range x {
		VMOVUPS(v[0], b.slot(32*i))
	}
	one = func(i int) Row {
		r := b.Vec()
		VBROADCASTSS(b.slot(4*i), r)
		return Row{r}
	}
	pair = func(i int) Row {
		r := b.Vec()
		VBROADCASTSD(b.slot(8*i), r)
		VPERMILPS(table("firstAndSecond", 0, 0, 0, 0, 1, 1, 1, 1), r, r)
		return Row{r}
	}
	return one, pair
}

// tables contains the tables emitted so far.
var tables = map[string]Mem{}

// table returns the address of constants.
func table(name string, words ...uint32) Mem {
	if m, ok := tables[name]; ok {
		return m
	}
	m := GLOBL(name, RODATA|NOPTR)
	for i, w := range words {
		DATA(4*i, U32(w))
	}
	tables[name] = m
	return m
}
