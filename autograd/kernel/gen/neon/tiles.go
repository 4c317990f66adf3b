package main

import (
	"mambatrain/autograd/kernel/gen/a64"
)

const tileArgs = "func(k int, a, b *float32, ldb int, c *float32, ldc, add int, next *float32, step int)"

// stripOf returns how many vectors of columns a tile of the given height computes together: as many as give some 16 to 24 sums.
func stripOf(mr, nv int) int {
	switch {
	case mr <= 3:
		return min(8, 4*nv)
	case mr <= 6:
		return 4
	}
	return 2
}

const unroll = 4

// tile emits c (mr × 16·nv) = Σ_k a[k]ᵀ·b[k], or +=, in strips of nr vectors of columns. A strip of b is multiplied by the elements
// of a, which are in the lanes of a few registers: 12 rows and 8 columns fill the 32 registers, with 24 sums.
func tile(file *a64.File, name string, mr, nv, nr int, bf16 bool) {
	f := file.Func(name, tileArgs)
	k, a, b, ldb := f.Param("k"), f.Param("a"), f.Param("b"), f.Param("ldb")
	c, ldc, add := f.Param("c"), f.Param("ldc"), f.Param("add")
	next, step := f.Param("next"), f.Param("step")
	f.LSLI(ldb, ldb, 2)
	f.LSLI(ldc, ldc, 2)
	strips := 4 * nv / nr
	left := f.X()
	if strips > 1 {
		f.LSRI(step, step, strips/2) // each strip prefetches its share: strips is 2 or 4
		f.MOVI(left, strips)
		f.Label("strip")
	}
	acc := f.Row(mr * nr)
	for i := range acc {
		f.Zero(acc[i])
	}
	row := f.X()
	f.MOV(row, c)
	for i := 0; i < mr; i++ {
		f.PRFM(a64.L1Write, row, 0)
		if i < mr-1 {
			f.ADD(row, row, ldc)
		}
	}
	ap, bp, n := f.X(), f.X(), f.X()
	f.MOV(ap, a)
	f.MOV(bp, b)
	one := func(off int) {
		element := loadElements(f, ap, off, mr)
		for j := 0; j < nr; j += 2 {
			bv := f.Row(2)
			f.LDP(bv[0], bv[1], bp, 16*j)
			if j == 0 {
				f.PRFM(a64.L2Keep, next, 0)
				f.ADD(next, next, step)
			}
			for r := 0; r < mr; r++ {
				av, l := element(r)
				for q := range bv {
					if bf16 {
						f.BFDOTe(acc[r*nr+j+q], bv[q], av, l)
					} else {
						f.FMLAe(acc[r*nr+j+q], bv[q], av, l)
					}
				}
			}
		}
		f.ADD(bp, bp, ldb)
	}
	whole := mr%4 == 0
	f.MOV(n, k)
	f.SUBS(n, n, unroll)
	f.Bcond("LT", "rest")
	f.Label("loop")
	for u := 0; u < unroll; u++ {
		if whole {
			one(4 * mr * u)
			continue
		}
		one(0)
		f.ADDI(ap, ap, 4*mr)
	}
	if whole {
		f.ADDI(ap, ap, 4*mr*unroll)
	}
	f.SUBS(n, n, unroll)
	f.Bcond("GE", "loop")
	f.Label("rest")
	f.ADDS(n, n, unroll)
	f.Bcond("EQ", "sums")
	f.Label("single")
	one(0)
	f.ADDI(ap, ap, 4*mr)
	f.SUBI(n, n, 1)
	f.CBNZ(n, "single")
	f.Label("sums")
	store := func(plus bool) { storeTile(f, acc, mr, nr, c, row, ldc, plus) }
	f.CBZ(add, "overwrite")
	store(true)
	f.B("done")
	f.Label("overwrite")
	store(false)
	f.Label("done")
	if strips > 1 {
		f.ADDI(b, b, 16*nr)
		f.ADDI(c, c, 16*nr)
		f.SUBI(left, left, 1)
		f.CBNZ(left, "strip")
	}
	f.RET()
}

// loadElements loads mr elements and returns a function that returns where the r-th is: a register and the lane.
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

// storeTile stores the sums, or adds them to c. row is free.
func storeTile(f *a64.Func, acc []a64.V, mr, nr int, c, row, ldc a64.X, add bool) {
	f.MOV(row, c)
	for i := range mr {
		for j := 0; j < nr; j += 2 {
			x, y := acc[i*nr+j], acc[i*nr+j+1]
			if add {
				t, u := f.V(), f.V()
				f.LDP(t, u, row, 16*j)
				f.FADD(x, x, t)
				f.FADD(y, y, u)
			}
			f.STP(x, y, row, 16*j)
		}
		if i < mr-1 {
			f.ADD(row, row, ldc)
		}
	}
}
