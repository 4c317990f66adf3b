package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

const tileArgs = "func(k int, a, b *float32, ldb int, c *float32, ldc, add int, next *float32, step int)"

// tilePtrs are the arguments of a tile, strides already in bytes.
type tilePtrs struct{ k, a, b, ldb, c, ldc, next, step reg.Register }

// tileHead begins a tile and loads its arguments.
func tileHead(name string) tilePtrs {
	TEXT(name, NOSPLIT, tileArgs)
	Pragma("noescape")
	p := tilePtrs{
		Load(Param("k"), GP64()), Load(Param("a"), GP64()), Load(Param("b"), GP64()),
		Load(Param("ldb"), GP64()), Load(Param("c"), GP64()), Load(Param("ldc"), GP64()),
		Load(Param("next"), GP64()), Load(Param("step"), GP64()),
	}
	SHLQ(U8(2), p.ldb)
	SHLQ(U8(2), p.ldc)
	return p
}

// fetchC is how many steps before the end of k a tile starts to fetch its rows of c, one with each step. They are fetched
// for writing: another thread may own them, and a store that finds its line shared waits. The start of the tile would be too
// early: the operands would evict them again. Steps beyond the last row fetch rows of the tile below, which comes next.
const fetchC = 32

// loops emits the loop over k: step(u) for u in [0, unroll), then single steps. rowBytes is the width of c.
func (p tilePtrs) loops(unroll, mr, rowBytes int, step func(u int)) {
	n, last := GP64(), GP64()
	MOVQ(p.k, n)
	MOVQ(U32(fetchC), last)
	CMPQ(n, last)
	CMOVQLT(n, last)
	SUBQ(last, n)
	single := func() {
		step(0)
		p.advance()
		ADDQ(U8(4*mr), p.a)
		DECQ(n)
	}
	if unroll > 1 {
		Label("many")
		CMPQ(n, U8(unroll))
		JLT(LabelRef("single"))
		for u := 0; u < unroll; u++ {
			step(u)
			p.advance()
		}
		ADDQ(U32(4*mr*unroll), p.a)
		SUBQ(U8(unroll), n)
		JMP(LabelRef("many"))
	}
	Label("single")
	TESTQ(n, n)
	JZ(LabelRef("last"))
	single()
	JMP(LabelRef("single"))
	Label("last")
	row := reg.RAX
	MOVQ(p.c, row)
	MOVQ(last, n)
	Label("fetch")
	asm.PREFETCHWAX(0)
	asm.PREFETCHWAX(rowBytes - 4)
	ADDQ(p.ldc, row)
	single()
	JNZ(LabelRef("fetch"))
}

// advance moves to the next row of b and prefetches some of the memory that the tiles after this one read.
func (p tilePtrs) advance() {
	ADDQ(p.ldb, p.b)
	PREFETCHT1(Mem{Base: p.next})
	ADDQ(p.step, p.next)
}

// finish adds c to the sums if the argument add is set, and stores them.
func (p tilePtrs) finish(mr, nv, bytes int, acc func(i, j int) reg.Register) {
	add := Load(Param("add"), GP64())
	TESTQ(add, add)
	JZ(LabelRef("overwrite"))
	row := GP64()
	MOVQ(p.c, row)
	for i := 0; i < mr; i++ {
		for j := 0; j < nv; j++ {
			VADDPS(Mem{Base: row, Disp: j * bytes}, acc(i, j), acc(i, j))
		}
		ADDQ(p.ldc, row)
	}
	Label("overwrite")
	for i := 0; i < mr; i++ {
		for j := 0; j < nv; j++ {
			VMOVUPS(acc(i, j), Mem{Base: p.c, Disp: j * bytes})
		}
		ADDQ(p.ldc, p.c)
	}
	VZEROUPPER()
	RET()
}

// unrollOf returns how many steps make about 28 multiply-adds.
func unrollOf(mr, nv int) int { return max(1, min(8, 28/(mr*nv))) }

// ahead returns how many rows ahead b is prefetched: many for short tiles, which are limited by memory, and few for tall ones.
func ahead(mr int) int {
	if mr <= 4 {
		return 32
	}
	return 8
}

// aheadA is how many bytes ahead a is prefetched: about twenty steps of the tallest tile.
const aheadA = 1024

// tile emits c = Σ_k a[k]ᵀ·b[k], or +=, for a tile of mr rows and nv vectors. a is packed without gaps.
func tile(v asm.ISA, mr, nv int) {
	p := tileHead(fmt.Sprintf("tile%dx%d_%s", mr, nv*v.Lanes, v.Suffix))
	acc := make([]reg.VecVirtual, mr*nv)
	for i := range acc {
		acc[i] = v.Zero()
	}
	bv := make([]reg.VecVirtual, nv)
	for j := range bv {
		bv[j] = v.Vec()
	}
	x := v.Vec()
	far := GP64()
	IMUL3Q(U32(ahead(mr)), p.ldb, far)
	p.loops(unrollOf(mr, nv), mr, nv*v.Bytes, func(u int) {
		PREFETCHT0(Mem{Base: p.a, Disp: aheadA})
		for j := range bv {
			VMOVUPS(Mem{Base: p.b, Disp: j * v.Bytes}, bv[j])
		}
		for d := 0; d < nv*v.Bytes; d += 64 {
			PREFETCHT0(Mem{Base: p.b, Index: far, Scale: 1, Disp: d})
		}
		for i := 0; i < mr; i++ {
			VBROADCASTSS(Mem{Base: p.a, Disp: 4 * (u*mr + i)}, x)
			for j := range bv {
				VFMADD231PS(bv[j], x, acc[i*nv+j])
			}
		}
	})
	p.finish(mr, nv, v.Bytes, func(i, j int) reg.Register { return acc[i*nv+j] })
}

// tileBF16 is tile for operands of bfloat16 pairs: k counts pairs, strides count 32-bit words.
func tileBF16(mr, nv int) {
	p := tileHead(fmt.Sprintf("tile%dx%d_bf16", mr, nv*16))
	for i := 0; i < mr*nv; i++ {
		VPXORD(asm.Z[i], asm.Z[i], asm.Z[i])
	}
	far := GP64()
	IMUL3Q(U32(ahead(mr)), p.ldb, far)
	p.loops(unrollOf(mr, nv), mr, nv*64, func(u int) {
		PREFETCHT0(Mem{Base: p.a, Disp: aheadA})
		for j := 0; j < nv; j++ {
			VMOVUPS(Mem{Base: p.b, Disp: j * 64}, asm.Z[28+j])
			PREFETCHT0(Mem{Base: p.b, Index: far, Scale: 1, Disp: j * 64})
		}
		for i := 0; i < mr; i++ {
			VBROADCASTSS(Mem{Base: p.a, Disp: 4 * (u*mr + i)}, asm.Z[30])
			for j := 0; j < nv; j++ {
				asm.VDPBF16PS(28+j, 30, i*nv+j)
			}
		}
	})
	p.finish(mr, nv, 64, func(i, j int) reg.Register { return asm.Z[i*nv+j] })
}
