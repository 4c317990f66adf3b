// Package asm contains what the generators of this module share: vector widths, constants, a 16 × 16 transpose, and two instructions that
// avo and the Go assembler lack.
package asm

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ISA is one vector width.
type ISA struct {
	Suffix string // of function names
	Bytes  int    // in a vector
	Lanes  int    // float32 in a vector
	vec    func() reg.VecVirtual
}

// Vec returns a fresh register.
func (v ISA) Vec() reg.VecVirtual { return v.vec() }

// The two kernel sets.
var (
	AVX512 = ISA{"512", 64, 16, ZMM}
	AVX2   = ISA{"256", 32, 8, YMM}
)

// Zero returns a vector of zeros.
func (v ISA) Zero() reg.VecVirtual {
	r := v.Vec()
	if v.Bytes == 64 {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}

// Z names the 512-bit registers for code that encodes instructions by hand, which avo cannot allocate registers for.
var Z = []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}

// evex emits a three-register EVEX.512.0F38.W0 instruction: dst = op(a, b), registers by number; pp is the mandatory
// prefix (2: F3, 3: F2). Intel SDM volume 2, section 2.7.1; register bits 3 and 4 are stored inverted.
func evex(pp, opcode, b, a, dst int) {
	not := func(r, bit int) int { return ^r >> bit & 1 }
	code := []int{
		0x62,
		not(dst, 3)<<7 | not(b, 4)<<6 | not(b, 3)<<5 | not(dst, 4)<<4 | 2,
		(^a&15)<<3 | 4 | pp,
		2<<5 | not(a, 4)<<3,
		opcode,
		0xc0 | dst&7<<3 | b&7,
	}
	for _, c := range code {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(c)}})
	}
}

// VDPBF16PS adds to each 32-bit lane of dst the products of the two bfloat16 pairs in a and b.
func VDPBF16PS(b, a, dst int) { evex(2, 0x52, b, a, dst) }

// VCVTNE2PS2BF16 rounds two float32 vectors to bfloat16: lo into the lower half of dst, hi into the upper.
func VCVTNE2PS2BF16(lo, hi, dst int) { evex(3, 0x72, lo, hi, dst) }

// PREFETCHWAX fetches the line disp (< 128) bytes after the address in RAX for writing. The Go assembler lacks the
// instruction.
func PREFETCHWAX(disp int) {
	for _, c := range []int{0x0f, 0x0d, 0x48, disp} {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(c)}})
	}
}

// Transpose16 transposes the 16 × 16 dwords in r in place, with the 16 registers in t as scratch. It takes 64 shuffles.
func Transpose16[R Op](r, t [16]R) {
	for i := 0; i < 16; i += 2 { // pairs of rows interleaved by dword
		VUNPCKLPS(r[i+1], r[i], t[i])
		VUNPCKHPS(r[i+1], r[i], t[i+1])
	}
	for i := 0; i < 16; i += 4 { // by qword: r[i+c] is column c (mod 4) of rows i … i+3
		VUNPCKLPD(t[i+2], t[i], r[i])
		VUNPCKHPD(t[i+2], t[i], r[i+1])
		VUNPCKLPD(t[i+3], t[i+1], r[i+2])
		VUNPCKHPD(t[i+3], t[i+1], r[i+3])
	}
	for c := 0; c < 4; c++ { // by 128 bits, twice
		VSHUFF32X4(U8(0x88), r[c+4], r[c], t[c])
		VSHUFF32X4(U8(0xdd), r[c+4], r[c], t[c+4])
		VSHUFF32X4(U8(0x88), r[c+12], r[c+8], t[c+8])
		VSHUFF32X4(U8(0xdd), r[c+12], r[c+8], t[c+12])
	}
	for c := 0; c < 4; c++ {
		VSHUFF32X4(U8(0x88), t[c+8], t[c], r[c])
		VSHUFF32X4(U8(0xdd), t[c+8], t[c], r[c+8])
		VSHUFF32X4(U8(0x88), t[c+12], t[c+4], r[c+4])
		VSHUFF32X4(U8(0xdd), t[c+12], t[c+4], r[c+12])
	}
}

// Transpose8 transposes the 8 × 8 dwords in r in place, with the 8 registers in t as scratch. It takes 24 shuffles.
func Transpose8(r, t [8]reg.Register) {
	for i := 0; i < 8; i += 2 { // pairs of rows interleaved by dword
		VUNPCKLPS(r[i+1], r[i], t[i])
		VUNPCKHPS(r[i+1], r[i], t[i+1])
	}
	for i := 0; i < 8; i += 4 { // by qword: r[i+c] is column c (mod 4) of rows i … i+3
		VUNPCKLPD(t[i+2], t[i], r[i])
		VUNPCKHPD(t[i+2], t[i], r[i+1])
		VUNPCKLPD(t[i+3], t[i+1], r[i+2])
		VUNPCKHPD(t[i+3], t[i+1], r[i+3])
	}
	for c := 0; c < 4; c++ { // by 128 bits
		VPERM2F128(U8(0x20), r[c+4], r[c], t[c])
		VPERM2F128(U8(0x31), r[c+4], r[c], t[c+4])
	}
	for c := range r {
		VMOVAPS(t[c], r[c])
	}
}

// LowMask sets the low n bits of a fresh mask register, n in 0 … 16 (larger values are treated as 16).
func LowMask(n reg.Register) reg.OpmaskVirtual {
	bits, cap := GP64(), GP64()
	MOVQ(U32(0xffffffff), bits)
	MOVQ(U32(16), cap)
	CMPQ(n, cap)
	CMOVQLT(n, cap)
	BZHIQ(cap, bits, bits)
	k := K()
	KMOVW(bits.As32(), k)
	return k
}

// Fold combines all lanes of x, float32 or float64, and returns the X register that has the result in lane 0.
func Fold(v ISA, x reg.VecVirtual, op func(a, b, dst Op), double bool) reg.Register {
	if v.Bytes == 64 {
		h := YMM()
		VEXTRACTF64X4(U8(1), x, h)
		op(x.AsY(), h, h)
		x = h
	}
	lo := XMM()
	VEXTRACTF128(U8(1), x.AsY(), lo)
	op(x.AsX(), lo, lo)
	t := XMM()
	VPERMILPD(U8(1), lo, t)
	op(t, lo, lo)
	if !double {
		VPERMILPS(U8(1), lo, t)
		op(t, lo, lo)
	}
	return lo
}
