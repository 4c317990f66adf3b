package main

import "mambatrain/autograd/kernel/gen/a64"

const tileArgs = "func(k int, a, b *float32, ldb int, c *float32, ldc, add int, next *float32, step int)"

// stripOf returns how many of a tile's vectors of columns are computed together: enough for 16 to 24 sums, if the tile is wide enough.
func stripOf(mr, vectors int) int {
	switch {
	case mr <= 3:
		return min(8, vectors)
	case mr <= 6:
		return min(4, vectors)
	}
	return 2
}

// unroll is the number of steps of k in one iteration of the loop.
const unroll = 4

// product is how a tile multiplies: float32, or pairs of bfloat16 by BFDOT or BFMMLA.
type product uint8

const (
	float product = iota
	pairs
	quads // two steps of pairs at once; the height is a multiple of 4
)

// bf16Product returns how a tile of bfloat16 of this height multiplies.
func bf16Product(mr int) product {
	if mr%4 == 0 {
		return quads
	}
	return pairs
}

// tileLoop is a tile of mr rows and strips of nr vectors under construction. Strides are in bytes.
type tileLoop struct {
	*a64.Func
	mr, nr     int
	product    product
	ap, bp     a64.X // the current step's elements
	ldb        a64.X
	next, step a64.X
	sums       []a64.V
}

// tile emits c (mr × columns) = Σ_k a[k]ᵀ·b[k], or +=, in strips of nr vectors of columns. A strip of b is multiplied by the elements
// of a, which are in the lanes of a few registers: 12 rows and 8 columns fill the 32 registers, with 24 sums.
func tile(file *a64.File, name string, mr, columns int, p product) {
	f := file.Func(name, tileArgs)
	nr := stripOf(mr, columns/4)
	k, a, b, ldb := f.Param("k"), f.Param("a"), f.Param("b"), f.Param("ldb")
	c, ldc, add := f.Param("c"), f.Param("ldc"), f.Param("add")
	t := tileLoop{Func: f, mr: mr, nr: nr, product: p, ldb: ldb, next: f.Param("next"), step: f.Param("step")}
	f.LSLI(ldb, ldb, 2)
	f.LSLI(ldc, ldc, 2)
	row := f.X()
	f.MOV(row, c)
	for i := range mr {
		for at := 0; at < columns; at += 16 {
			f.PRFM(a64.L1Write, row, 4*at)
		}
		if i < mr-1 {
			f.ADD(row, row, ldc)
		}
	}
	strips := columns / 4 / nr
	left := f.X()
	if strips > 1 {
		f.LSRI(t.step, t.step, strips/2) // each strip prefetches its share: strips is 2 or 4
		f.MOVI(left, strips)
		f.Label("strip")
	}
	t.sums = f.Row(mr * nr)
	for _, s := range t.sums {
		f.Zero(s)
	}
	t.ap, t.bp = f.X(), f.X()
	f.MOV(t.ap, a)
	f.MOV(t.bp, b)
	if p == quads {
		t.quadSteps(k)
	} else {
		t.steps(k)
	}
	f.CBZ(add, "overwrite")
	t.store(c, row, ldc, true)
	f.B("done")
	f.Label("overwrite")
	t.store(c, row, ldc, false)
	f.Label("done")
	if strips > 1 {
		f.ADDI(b, b, 16*nr)
		f.ADDI(c, c, 16*nr)
		f.SUBI(left, left, 1)
		f.CBNZ(left, "strip")
	}
	f.RET()
}

// steps emits the loop over k.
func (t *tileLoop) steps(k a64.X) {
	n := t.X()
	t.MOV(n, k)
	t.SUBS(n, n, unroll)
	t.Bcond("LT", "rest")
	t.Label("loop")
	if t.mr%4 == 0 { // offsets of pairs are multiples of 16 bytes
		for u := range unroll {
			t.multiply(4 * t.mr * u)
		}
		t.ADDI(t.ap, t.ap, 4*t.mr*unroll)
	} else {
		for range unroll {
			t.multiply(0)
			t.ADDI(t.ap, t.ap, 4*t.mr)
		}
	}
	t.SUBS(n, n, unroll)
	t.Bcond("GE", "loop")
	t.Label("rest")
	t.ADDS(n, n, unroll)
	t.Bcond("EQ", "sums")
	t.Label("single")
	t.multiply(0)
	t.ADDI(t.ap, t.ap, 4*t.mr)
	t.SUBI(n, n, 1)
	t.CBNZ(n, "single")
	t.Label("sums")
}

// multiply emits one step, with the elements of a at an offset. It prefetches some of the memory that later tiles read.
func (t *tileLoop) multiply(offset int) {
	element := loadElements(t.Func, t.ap, offset, t.mr)
	for j := 0; j < t.nr; j += 2 {
		b := t.Row(2)
		t.LDP(b[0], b[1], t.bp, 16*j)
		if j == 0 {
			t.PRFM(a64.L2Keep, t.next, 0)
			t.ADD(t.next, t.next, t.step)
		}
		for r := range t.mr {
			a, lane := element(r)
			for q := range b {
				if t.product == pairs {
					t.BFDOTe(t.sums[r*t.nr+j+q], b[q], a, lane)
				} else {
					t.FMLAe(t.sums[r*t.nr+j+q], b[q], a, lane)
				}
			}
		}
	}
	t.ADD(t.bp, t.bp, t.ldb)
}

// quadSteps emits the loop over k of a tile of quads. a is in the order of packQuads. A sum is a block of 2 × 2, of two rows and two
// columns, until the end. A last single step has no second pair.
func (t *tileLoop) quadSteps(k a64.X) {
	n := t.X()
	t.MOV(n, k)
	t.SUBS(n, n, unroll)
	t.Bcond("LT", "rest")
	t.Label("loop")
	for u := 0; u < unroll; u += 2 {
		t.multiplyQuads(4 * t.mr * u)
	}
	t.ADDI(t.ap, t.ap, 4*t.mr*unroll)
	t.SUBS(n, n, unroll)
	t.Bcond("GE", "loop")
	t.Label("rest")
	t.ADDS(n, n, unroll-2)
	t.Bcond("LT", "last")
	t.multiplyQuads(0)
	t.ADDI(t.ap, t.ap, 4*t.mr*2)
	t.SUBI(n, n, 2)
	t.Label("last")
	t.ADDS(n, n, 2)
	t.Bcond("EQ", "sums")
	t.multiplyLast()
	t.Label("sums")
	sums := make([]a64.V, len(t.sums))
	for r := 0; r < t.mr; r += 2 {
		for j := range t.nr {
			blocks := t.sums[r*t.nr+2*j:][:2]
			upper, lower := t.V(), t.V()
			t.ZIP1D(upper, blocks[0], blocks[1])
			t.ZIP2D(lower, blocks[0], blocks[1])
			sums[r*t.nr+j], sums[(r+1)*t.nr+j] = upper, lower
		}
	}
	t.sums = sums
}

// multiplyQuads emits two steps of pairs, with the elements of a at an offset.
func (t *tileLoop) multiplyQuads(offset int) {
	first, second := t.row(), t.row()
	b := make([]a64.V, 2*t.nr) // columns 2i and 2i+1, four elements along k each
	for j := range first {
		b[2*j], b[2*j+1] = t.V(), t.V()
		t.ZIP1(b[2*j], first[j], second[j])
		t.ZIP2(b[2*j+1], first[j], second[j])
	}
	for r := 0; r < t.mr; r += 4 {
		a := t.Row(2)
		t.LDP(a[0], a[1], t.ap, offset+8*r)
		for i := range a {
			for j := range b {
				t.BFMMLA(t.sums[(r+2*i)*t.nr+j], a[i], b[j])
			}
		}
	}
}

// multiplyLast emits a single step of pairs.
func (t *tileLoop) multiplyLast() {
	for j, v := range t.row() {
		low, high := t.V(), t.V()
		t.ZIP1D(low, v, v)
		t.ZIP2D(high, v, v)
		for r := 0; r < t.mr; r += 4 {
			a, upper, lower := t.V(), t.V(), t.V()
			t.LD(a, t.ap, 4*r)
			t.ZIP1(upper, a, a)
			t.ZIP2(lower, a, a)
			for i, x := range []a64.V{upper, lower} {
				sums := t.sums[(r+2*i)*t.nr+2*j:]
				t.BFDOT(sums[0], x, low)
				t.BFDOT(sums[1], x, high)
			}
		}
	}
}

// row loads a row of b, prefetches, and moves to the next row.
func (t *tileLoop) row() []a64.V {
	b := t.Row(t.nr)
	for j := 0; j < t.nr; j += 2 {
		t.LDP(b[j], b[j+1], t.bp, 16*j)
	}
	t.PRFM(a64.L2Keep, t.next, 0)
	t.ADD(t.next, t.next, t.step)
	t.ADD(t.bp, t.bp, t.ldb)
	return b
}

// loadElements loads mr elements and returns a function that returns the register and the lane of the r-th one.
func loadElements(f *a64.Func, p a64.X, off, mr int) func(r int) (a64.V, int) {
	var in []a64.V  // by element
	var lanes []int // by element
	add := func(v a64.V, n int) {
		for l := range n {
			in, lanes = append(in, v), append(lanes, l)
		}
	}
	for left := mr; left > 0; left = mr - len(in) {
		v, at := f.V(), off+4*len(in)
		switch {
		case left >= 8:
			w := f.V()
			f.LDP(v, w, p, at)
			add(v, 4)
			add(w, 4)
		case left >= 4:
			f.LD(v, p, at)
			add(v, 4)
		case left >= 2:
			f.LDD(v, p, at)
			add(v, 2)
		default:
			f.LDS(v, p, at)
			add(v, 1)
		}
	}
	return func(r int) (a64.V, int) { return in[r], lanes[r] }
}

// store stores the sums, or adds them to c. row is free.
func (t *tileLoop) store(c, row, ldc a64.X, add bool) {
	t.MOV(row, c)
	for i := range t.mr {
		for j := 0; j < t.nr; j += 2 {
			x, y := t.sums[i*t.nr+j], t.sums[i*t.nr+j+1]
			if add {
				p, q := t.V(), t.V()
				t.LDP(p, q, row, 16*j)
				t.FADD(x, x, p)
				t.FADD(y, y, q)
			}
			t.STP(x, y, row, 16*j)
		}
		if i < t.mr-1 {
			t.ADD(row, row, ldc)
		}
	}
}
