package kernel

// The vector form of the convolution, for float32 and four taps: a block of channels walks the rows, each row one pass over
// the four input rows that it needs, where rows outside the document are a row of zeros.

// convBlock is the number of channels of a block: its rows stay in the first-level cache.
const convBlock = 128

// convWork is what one block of channels [lo, lo+n) works with; n is a multiple of vectorStep.
type convWork struct {
	Conv[float32]
	x, dx  Mat[float32]
	first  []int
	carry  []float32
	lo, n  int
	buf    *buffer
	w      []float32 // (4, n), taps by row
	bias   []float32
	zero   []float32
	pre, g []float32 // one row, and the last four rows' gradients
	dw, db []float32 // (4, n) and (n)
}

// vector reports whether there is a vector form for this convolution, and returns it as float32.
func (c Conv[T]) vector() (Conv[float32], bool) {
	if !is32[T]() || active.vec.conv4 == nil || c.K != 4 {
		return Conv[float32]{}, false
	}
	return Conv[float32]{f32s(c.W), f32s(c.Bias), c.K, c.Act}, true
}

func newConvWork(c Conv[float32], x Mat[float32], first []int, carry []float32, lo, n int) *convWork {
	k := &convWork{Conv: c, x: x, first: first, carry: carry, lo: lo, n: n, buf: borrow(16 * n)}
	rest := k.buf.data
	clear(rest)
	k.w, k.bias, k.zero, k.pre = carve(&rest, 4*n), carve(&rest, n), carve(&rest, n), carve(&rest, n)
	k.g, k.dw, k.db = carve(&rest, 4*n), carve(&rest, 4*n), carve(&rest, n)
	for i := range n {
		for j := range 4 {
			k.w[j*n+i] = c.W[(lo+i)*4+j]
		}
	}
	if c.Bias != nil {
		copy(k.bias, c.Bias[lo:lo+n])
	}
	return k
}

// tap returns the address of the block's part of input row t, for a row whose document starts at first.
func (k *convWork) tap(t, first int) *float32 {
	if row := k.tapRow(k.x, k.carry, t, first); row != nil {
		return &row[k.lo]
	}
	return &k.zero[0]
}

// convolve writes the pre-activation of row t.
func (k *convWork) convolve(y *float32, t int) {
	f := firstRow(k.first, t)
	active.vec.conv4(k.n, y, &k.bias[0], &k.w[0], k.tap(t-3, f), k.tap(t-2, f), k.tap(t-1, f), k.tap(t, f), k.n)
}

// forward writes the block's part of y.
func (k *convWork) forward(y Mat[float32]) {
	for t := range k.x.Rows {
		out := y.Row(t)[k.lo : k.lo+k.n]
		k.convolve(&out[0], t)
		if k.Act == SiLU {
			active.vec.silu(k.n, &out[0], &out[0])
			continue
		}
		for i, v := range out {
			out[i] = activate(k.Act, v)
		}
	}
}

// backward adds the block's part of the gradients to k.dx, k.dw and k.db.
func (k *convWork) backward(dw, db bool, dy Mat[float32]) {
	v := &active.vec
	for t := range k.x.Rows {
		f := firstRow(k.first, t)
		g, up := k.slot(t), dy.Row(t)[k.lo:k.lo+k.n]
		k.convolve(&k.pre[0], t)
		k.slope(g, up)
		if dw {
			v.convGrad4(k.n, &g[0], &k.dw[0], k.tap(t-3, f), k.tap(t-2, f), k.tap(t-1, f), k.tap(t, f), k.n)
		}
		if db {
			v.add(k.n, &k.db[0], &g[0])
		}
		if k.dx.Absent() {
			continue
		}
		last := t+1 == k.x.Rows || firstRow(k.first, t+1) == t+1
		for s := t - 3; s <= t; s++ {
			if s >= max(f, 0) && (s == t-3 || last) {
				k.inputGrad(s, t)
			}
		}
	}
}

// slot is where the pre-activation gradient of row t is kept until row t+3.
func (k *convWork) slot(t int) []float32 { return k.g[t%4*k.n : (t%4+1)*k.n] }

// slope turns the pre-activation into g = dy·act′.
func (k *convWork) slope(g, dy []float32) {
	if k.Act == SiLU {
		active.vec.siluGrad(k.n, &g[0], &dy[0], &k.pre[0])
		return
	}
	for i, v := range k.pre {
		g[i] = dy[i] * derivative(k.Act, v)
	}
}

// inputGrad adds to dx of row s what the rows s … s+3 of its document, of which end is the last so far, send back.
func (k *convWork) inputGrad(s, end int) {
	from := func(t int) *float32 {
		if t > end {
			return &k.zero[0]
		}
		return &k.slot(t)[0]
	}
	dx := &k.dx.Row(s)[k.lo]
	active.vec.conv4(k.n, dx, dx, &k.w[0], from(s+3), from(s+2), from(s+1), from(s), k.n)
}
