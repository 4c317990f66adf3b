package main

import (
	"fmt"

	"mambatrain/autograd/kernel/gen/a64"
	"mambatrain/autograd/kernel/gen/vec"
)

// blockLoop implements vec.Blocks. A row is two vectors.
type blockLoop struct {
	isa
	w, x, y a64.X
}

// dotBlocks emits, for n rows of the given number of blocks, y[r] = Σ w[r]·x. The rows are stride bytes apart.
func dotBlocks(file *a64.File, t vec.BlockType[a64.V]) {
	f := file.Func("dot"+t.Name+"Neon", "func(n int, w *byte, stride, blocks int, x, y *float32)")
	f.UseConsts()
	n, row, stride, count := f.Param("n"), f.Param("w"), f.Param("stride"), f.Param("blocks")
	x, y, left := f.Param("x"), f.Param("y"), f.X()
	b := &blockLoop{isa{Func: f}, f.X(), f.X(), y}
	sums := t.NewSums(b)
	f.Label("row")
	sums.Clear(b)
	f.MOV(b.w, row)
	f.MOV(b.x, x)
	f.MOV(left, count)
	f.Label("block")
	t.Dot(b, sums)
	f.ADDI(b.w, b.w, t.Bytes)
	f.ADDI(b.x, b.x, 32*t.Rows)
	f.SUBS(left, left, 1)
	f.Bcond("GT", "block")
	f.STS(b.fold(sums.Result(b)), y, 0)
	f.ADD(row, row, stride)
	f.ADDI(y, y, 4)
	f.SUBS(n, n, 1)
	f.Bcond("GT", "row")
	f.RET()
}

// readStrips emits y[r·ldy + i] = value i of a strip of row r, for n rows whose blocks are stride bytes apart. strip is its number in the
// block.
func readStrips(file *a64.File, t vec.BlockType[a64.V]) {
	f := file.Func("strip"+t.Name+"Neon", "func(n int, w *byte, stride, strip int, y *float32, ldy int)")
	f.UseConsts()
	n, stride, strip, ldy := f.Param("n"), f.Param("stride"), f.Param("strip"), f.Param("ldy")
	b := &blockLoop{isa: isa{Func: f}, w: f.Param("w"), y: f.Param("y")}
	f.LSLI(ldy, ldy, 2)
	for j := 1; j < t.Strips; j++ {
		f.CMPI(strip, j)
		f.Bcond("EQ", fmt.Sprint("strip", j))
	}
	for j := range t.Strips {
		label := fmt.Sprint("strip", j)
		f.Label(label)
		t.ReadStrip(b, j)
		f.ADD(b.w, b.w, stride)
		f.ADD(b.y, b.y, ldy)
		f.SUBS(n, n, 1)
		f.Bcond("GT", label)
		f.RET()
	}
}

// both returns a row whose vectors are the same.
func both(v a64.V) row { return row{v, v} }

// each applies f to each vector and returns the results as a row.
func (b *blockLoop) each(x row, f func(d, v a64.V)) row {
	r := vec.NewRow(b, len(x))
	x.Each(func(i int) { f(r[i], x[i]) })
	return r
}

// loadAt loads 16 bytes at any offset.
func (b *blockLoop) loadAt(base a64.X, offset int) a64.V {
	v := b.V()
	if offset%16 == 0 {
		b.LD(v, base, offset)
	} else {
		b.LDU(v, base, offset)
	}
	return v
}

// address returns a register that points to an offset of the block.
func (b *blockLoop) address(offset int) a64.X {
	if offset == 0 {
		return b.w
	}
	p := b.Func.X()
	b.ADDI(p, b.w, offset)
	return p
}

func (b *blockLoop) Zeros() row           { return b.zeros(2) }
func (b *blockLoop) Mask(bits uint32) row { return both(b.Bits(bits)) }
func (b *blockLoop) Bytes(offset int) row {
	return row{b.loadAt(b.w, offset), b.loadAt(b.w, offset+16)}
}
func (b *blockLoop) X(i int) row                 { return row{b.loadAt(b.x, 32*i), b.loadAt(b.x, 32*i+16)} }
func (b *blockLoop) Y(i int, v row)              { b.store(v, b.y, 32*i) }
func (b *blockLoop) And(x, y row) row            { return b.each(y, func(d, v a64.V) { b.AND(d, v, x[0]) }) }
func (b *blockLoop) AndBits(c uint32, x row) row { return b.And(b.Mask(c), x) }
func (b *blockLoop) Floats(x row) row            { return b.each(x, func(d, v a64.V) { b.SCVTF(d, v) }) }

func (b *blockLoop) MulX(i int, v, dst row) {
	x := b.X(i)
	v.Each(func(i int) { b.FMUL(dst[i], v[i], x[i]) })
}

func (b *blockLoop) MulAddX(i int, v, acc row) {
	x := b.X(i)
	v.Each(func(i int) { b.FMLA(acc[i], v[i], x[i]) })
}

func (b *blockLoop) Nibbles(offset int) row {
	low, high := b.loadAt(b.w, offset), b.V()
	b.USHR(high, low, 4)
	return row{low, high}
}

func (b *blockLoop) SpreadBits(offset int, bit byte) row {
	word, set, bits := b.V(), b.Bits(uint32(bit)*0x01010101), b.Words([4]uint32{0x08040201, 0x80402010, 0x08040201, 0x80402010})
	b.LD1R(word, b.address(offset))
	r := row{b.Words([4]uint32{0, 0, 0x01010101, 0x01010101}), b.Words([4]uint32{0x02020202, 0x02020202, 0x03030303, 0x03030303})}
	return b.each(r, func(d, v a64.V) {
		b.TBL(d, word, v)
		b.CMTST(d, d, bits)
		b.AND(d, d, set)
	})
}

func (b *blockLoop) Or(x, y row) row {
	r := vec.NewRow(b, len(x))
	r.Each(func(i int) { b.ORR(r[i], x[i], y[i]) })
	return r
}

func (b *blockLoop) ShiftRight(n int, x row) row {
	switch {
	case n == 0:
		return x
	case n < 0:
		return b.each(x, func(d, v a64.V) { b.SHL(d, v, -n) })
	}
	return b.each(x, func(d, v a64.V) { b.USHR(d, v, n) })
}

func (b *blockLoop) SubBytes(c byte, x row) row {
	k := b.Bits(uint32(c) * 0x01010101)
	return b.each(x, func(d, v a64.V) { b.SUB16(d, v, k) })
}

func (b *blockLoop) Widen(x row) (r []row) {
	for _, v := range x {
		low, high := b.V(), b.V()
		b.SXTL8(low, v)
		b.SXTL28(high, v)
		for _, h := range []a64.V{low, high} {
			w := vec.NewRow(b, 2)
			b.SXTL4(w[0], h)
			b.SXTL24(w[1], h)
			r = append(r, w)
		}
	}
	return r
}

func (b *blockLoop) SignedBytes(offset int) []row { return b.Widen(b.Bytes(offset)) }

func (b *blockLoop) Numbers(offset int) row { return b.Bytes(offset) }

func (b *blockLoop) BFloats(offset int) row {
	h, r := b.loadAt(b.w, offset), vec.NewRow(b, 2)
	b.SHLL(r[0], h)
	b.SHLL2(r[1], h)
	return r
}

func (b *blockLoop) Halves(offset int) row {
	h, r := b.loadAt(b.w, offset), vec.NewRow(b, 2)
	b.FCVTLh(r[0], h)
	b.FCVTL2h(r[1], h)
	return r
}

func (b *blockLoop) Half(offset int) row {
	h, r := b.V(), b.V()
	b.LD1Rh(h, b.address(offset))
	b.FCVTLh(r, h)
	return both(r)
}

// SixBits puts the 12 bytes in order: scales 0 to 3 and 4 to 7, then the minima.
func (b *blockLoop) SixBits(offset int) (scales, mins row) {
	h, t, u := b.loadAt(b.w, offset-4), b.V(), b.V()
	b.TBL(t, h, b.Words([4]uint32{0x07060504, 0x07060504, 0x0b0a0908, 0x0b0a0908}))
	b.USHL(t, t, b.Words([4]uint32{0, 1<<32 - 2, 0, 1<<32 - 2}))
	b.AND(t, t, b.Words([4]uint32{0x3f3f3f3f, 0x30303030, 0x3f3f3f3f, 0x30303030}))
	b.Dup(u, h, 3)
	b.USHL(u, u, b.Words([4]uint32{0, 0, 0, 1<<32 - 4}))
	b.AND(u, u, b.Words([4]uint32{0, 0x0f0f0f0f, 0, 0x0f0f0f0f}))
	b.ORR(t, t, u)
	r := b.Widen(row{t})
	return b.Floats(r[0]), b.Floats(r[1])
}

func (b *blockLoop) Signed(offset int) [2]row {
	r := b.Widen(row{b.loadAt(b.w, offset)})
	return [2]row{b.Floats(r[0]), b.Floats(r[1])}
}

func (b *blockLoop) Lanes(x ...row) (one, pair func(i int) row) {
	lane := func(i int) a64.V {
		v := b.V()
		b.Dup(v, x[i/8][i%8/4], i%4)
		return v
	}
	one = func(i int) row { return both(lane(i)) }
	pair = func(i int) row { return row{lane(2 * i), lane(2*i + 1)} }
	return one, pair
}
