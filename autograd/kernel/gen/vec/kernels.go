package vec

// Loop is a loop under construction over the elements of slices, which are given by name. A slice's current elements form one Row, whose
// length suits the instruction set.
type Loop[R any] interface {
	ISA[R]
	Load(slice string) Row[R]
	Store(x Row[R], slice string)
	AddFrom(slice string, x Row[R])            // x += the slice
	MulFrom(slice string, x, dst Row[R])       // dst = x·the slice
	MulAddFrom(slice string, x, acc Row[R])    // acc += x·the slice
	NegMulAddFrom(slice string, x, acc Row[R]) // acc −= x·the slice
	Field(slice string, i int) R               // element i of a slice that the loop does not advance, in all lanes
	Sums() Row[R]                              // zeros
	WideSums() Row[R]                          // zeros in float64
	DotFrom(a, b string, sums Row[R])          // sums += a·b in float64
	ScaledDotFrom(a, b, c string, sums Row[R]) // sums += (a·b)·c, the first product in float32
	MaxFrom(slice string, top Row[R])          // top = max(the slice, top)
	ReturnSum(sums Row[R])                     //
	ReturnWideSum(sums Row[R])                 //
	ReturnMax(top Row[R])                      //
}

// Kernel describes func Name(n int, Slices… *float32, Scalars… float32) Result, a loop over n elements, n a multiple of 16. Lists are
// separated by commas. Strided, if not empty, is one of the slices: w then means the slices w, w1, w2, w3, each ldw elements after the
// previous one, where ldw is an additional, last argument.
type Kernel[R any] struct {
	Name, Slices, Scalars, Result, Strided string

	Long   bool                            // the formula needs so many registers that few vectors fit
	Before func(l Loop[R])                 // emitted ahead of the loop, if not nil
	Body   func(l Loop[R], scalars Row[R]) // emitted once per Row; each scalar fills a vector
	After  func(l Loop[R])                 // emitted after the loop, if not nil
}

// Kernels returns the elementwise kernels.
func Kernels[R any]() []Kernel[R] {
	all := functions[R]()
	all = append(all, arithmetic[R]()...)
	all = append(all, reductions[R]()...)
	all = append(all, taps[R]()...)
	return append(all, adamW[R]())
}

func functions[R any]() []Kernel[R] {
	return []Kernel[R]{
		{Name: "exp", Slices: "y, x", Body: func(l Loop[R], _ Row[R]) { l.Store(Exp(l, l.Load("x")), "y") }},
		{Name: "sigmoid", Slices: "y, x", Long: true, Body: func(l Loop[R], _ Row[R]) { l.Store(Gated(l, l.Load("x"), nil), "y") }},
		{Name: "silu", Slices: "y, x", Long: true, Body: func(l Loop[R], _ Row[R]) {
			x := l.Load("x")
			l.Store(Gated(l, x, x), "y")
		}},
		{Name: "softplus", Slices: "y, x", Body: func(l Loop[R], _ Row[R]) { l.Store(Softplus(l, l.Load("x")), "y") }},
		{Name: "siluGrad", Slices: "y, gy, x", Long: true, Body: func(l Loop[R], _ Row[R]) {
			t := SiLUSlope(l, l.Load("x"))
			l.MulFrom("gy", t, t)
			l.Store(t, "y")
		}},
		// y = x·silu(z)
		{Name: "gate", Slices: "y, x, z", Long: true, Body: func(l Loop[R], _ Row[R]) {
			z := l.Load("z")
			p := NewRow(l, len(z))
			l.MulFrom("x", z, p)
			l.Store(Gated(l, z, p), "y")
		}},
	}
}

func arithmetic[R any]() []Kernel[R] {
	return []Kernel[R]{
		{Name: "add", Slices: "y, x", Body: func(l Loop[R], _ Row[R]) {
			t := l.Load("x")
			l.AddFrom("y", t)
			l.Store(t, "y")
		}},
		// y = a·b
		{Name: "mul", Slices: "y, a, b", Body: func(l Loop[R], _ Row[R]) {
			t := l.Load("a")
			l.MulFrom("b", t, t)
			l.Store(t, "y")
		}},
		// y += a·b
		{Name: "mulAdd", Slices: "y, a, b", Body: func(l Loop[R], _ Row[R]) {
			t, y := l.Load("a"), l.Load("y")
			l.MulAddFrom("b", t, y)
			l.Store(y, "y")
		}},
		// y = x·k + c
		{Name: "scaleShift", Slices: "y, x", Scalars: "k, c", Body: func(l Loop[R], s Row[R]) {
			t := l.Load("x")
			t.Each(func(i int) { t[i] = l.MulAddTo(s[1], s[0], t[i]) })
			l.Store(t, "y")
		}},
		// y = x·s·w
		{Name: "scaleBy", Slices: "y, x, w", Scalars: "s", Body: func(l Loop[R], s Row[R]) {
			t := l.Load("x")
			t.Each(func(i int) { l.Mul(s[0], t[i], t[i]) })
			l.MulFrom("w", t, t)
			l.Store(t, "y")
		}},
		// dx += s·w·dy − k·x
		{Name: "rmsGrad", Slices: "dx, dy, x, w", Scalars: "s, k", Body: func(l Loop[R], s Row[R]) {
			t, y := l.Load("w"), l.Load("dx")
			l.MulFrom("dy", t, t)
			t.Each(func(i int) { l.MulAdd(s[0], t[i], y[i]) })
			l.NegMulAddFrom("x", same(s[1], len(y)), y)
			l.Store(y, "dx")
		}},
		// y += a·b·s
		{Name: "mulAddScaled", Slices: "y, a, b", Scalars: "s", Body: func(l Loop[R], s Row[R]) {
			t, y := l.Load("a"), l.Load("y")
			t.Each(func(i int) { l.Mul(s[0], t[i], t[i]) })
			l.MulAddFrom("b", t, y)
			l.Store(y, "y")
		}},
	}
}

// same returns a Row that consists of x, n times.
func same[R any](x R, n int) Row[R] {
	r := make(Row[R], n)
	for i := range r {
		r[i] = x
	}
	return r
}

// reductions return one number. Products are summed in float64.
func reductions[R any]() []Kernel[R] {
	var sums Row[R]
	wide := func(l Loop[R]) { sums = l.WideSums() }
	returnWide := func(l Loop[R]) { l.ReturnWideSum(sums) }
	zero := func(l Loop[R]) { sums = l.Sums() }
	returnSum := func(l Loop[R]) { l.ReturnSum(sums) }
	// term adds exp(x − shift) to the sums, and returns it.
	term := func(l Loop[R], s Row[R]) Row[R] {
		t := l.Load("x")
		t.Each(func(i int) { l.Sub(t[i], s[0], t[i]) })
		t = Exp(l, t)
		t.Each(func(i int) { l.Add(t[i], sums[i], sums[i]) })
		return t
	}
	return []Kernel[R]{
		{Name: "dot", Slices: "a, b", Result: " float64", Before: wide, After: returnWide, Body: func(l Loop[R], _ Row[R]) { l.DotFrom("a", "b", sums) }},
		{Name: "dot3", Slices: "a, b, c", Result: " float64", Before: wide, After: returnWide, Body: func(l Loop[R], _ Row[R]) { l.ScaledDotFrom("a", "b", "c", sums) }},
		{
			Name: "max", Slices: "x", Result: " float32",
			Before: func(l Loop[R]) { sums = l.Load("x") },
			Body:   func(l Loop[R], _ Row[R]) { l.MaxFrom("x", sums) },
			After:  func(l Loop[R]) { l.ReturnMax(sums) },
		},
		{Name: "expSumStore", Slices: "e, x", Scalars: "shift", Result: " float32", Before: zero, After: returnSum, Body: func(l Loop[R], s Row[R]) { l.Store(term(l, s), "e") }},
		{Name: "expSum", Slices: "x", Scalars: "shift", Result: " float32", Before: zero, After: returnSum, Body: func(l Loop[R], s Row[R]) { term(l, s) }},
	}
}

// taps returns the convolution's loops for a width of four.
func taps[R any]() []Kernel[R] {
	inputs, weights := [4]string{"x0", "x1", "x2", "x3"}, [4]string{"w", "w1", "w2", "w3"}
	return []Kernel[R]{
		// y = b + Σ_j w_j·x_j
		{Name: "conv4", Slices: "y, b, w, x0, x1, x2, x3", Strided: "w", Body: func(l Loop[R], _ Row[R]) {
			y := l.Load("b")
			for j, x := range inputs {
				l.MulAddFrom(weights[j], l.Load(x), y)
			}
			l.Store(y, "y")
		}},
		// w_j += g·x_j
		{Name: "convGrad4", Slices: "gy, w, x0, x1, x2, x3", Strided: "w", Body: func(l Loop[R], _ Row[R]) {
			g := l.Load("gy")
			for j, x := range inputs {
				w := l.Load(weights[j])
				l.MulAddFrom(x, g, w)
				l.Store(w, weights[j])
			}
		}},
	}
}

// adamW is adamWRef of adamw_ref.go; k points to the nine fields of adamWFactors.
func adamW[R any]() Kernel[R] {
	var k [9]R
	before := func(l Loop[R]) {
		for i := range k {
			k[i] = l.Field("k", i)
		}
	}
	return Kernel[R]{Name: "adamw", Slices: "w, gy, m, v, k", Before: before, Body: func(l Loop[R], _ Row[R]) {
		scale, beta1, rest1, beta2, rest2, keep, rate, root, eps := k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7], k[8]
		g := l.Load("gy")
		t, u := NewRow(l, len(g)), NewRow(l, len(g))
		g.Each(func(i int) { l.Mul(scale, g[i], g[i]) })
		l.MulFrom("m", same(beta1, len(t)), t)
		g.Each(func(i int) { l.MulAdd(g[i], rest1, t[i]) })
		l.Store(t, "m")
		g.Each(func(i int) { l.Mul(g[i], g[i], g[i]) })
		l.MulFrom("v", same(beta2, len(u)), u)
		g.Each(func(i int) { l.MulAdd(g[i], rest2, u[i]) })
		l.Store(u, "v")
		u.Each(func(i int) {
			l.Sqrt(u[i], u[i])
			u[i] = l.MulAddTo(eps, root, u[i])
		})
		t.Each(func(i int) {
			l.Mul(rate, t[i], t[i])
			l.Div(t[i], u[i], t[i])
		})
		l.MulFrom("w", same(keep, len(u)), u)
		u.Each(func(i int) { l.Sub(u[i], t[i], u[i]) })
		l.Store(u, "w")
	}}
}
