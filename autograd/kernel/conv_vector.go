package kernel

// The vectorized convolution, for float32 and four taps. A task takes some rows of some channels. Each output row
// takes one pass over the four input rows it reads; input rows outside the document are replaced by a row of zeros.

const (
	convChannels = 512 // per task: four input rows and the weights stay in the first-level cache
	convRows     = 32  // per task; the backward pass computes three more
)

// convWork is one convolution, forward or backward, over n channels, a multiple of vectorStep.
type convWork struct {
	Conv[float32]
	convInput[float32]
	y, dx, dy  Mat[float32]
	n          int
	w          []float32 // (4, n), taps by row
	bias, zero []float32 // (n)
	part       []float32 // (tasks along the rows, 5, n): dw by tap, then db; nil if neither is needed
}

// vector returns this convolution as float32 and reports whether it has a vector form.
func (c Conv[T]) vector() (Conv[float32], bool) {
	if !is32[T]() || active.vec.conv4 == nil || c.K != 4 {
		return Conv[float32]{}, false
	}
	return Conv[float32]{f32s(c.W), f32s(c.Bias), c.K, c.Act}, true
}

// run sets w, bias, and zero, and then calls f for each task's rows [t0, t1) and channels [lo, hi).
func (k *convWork) run(f func(t0, t1, lo, hi int)) {
	n := k.n
	buf := borrow(6 * n)
	defer giveBack(buf)
	clear(buf.data)
	k.w, k.bias, k.zero = buf.data[:4*n], buf.data[4*n:5*n], buf.data[5*n:]
	for i := range n {
		for j := range 4 {
			k.w[j*n+i] = k.W[i*4+j]
		}
	}
	copy(k.bias, k.Bias)
	bands, blocks := (k.x.Rows+convRows-1)/convRows, (n+convChannels-1)/convChannels
	runTasks(bands*blocks, func(task int) {
		t, c := task/blocks*convRows, task%blocks*convChannels
		f(t, min(k.x.Rows, t+convRows), c, min(n, c+convChannels))
	})
}

// tap returns the address of channel lo of input row t, as seen by a row whose document starts at first.
func (k *convWork) tap(t, first, lo int) *float32 {
	if row := k.row(t, first); row != nil {
		return &row[lo]
	}
	return &k.zero[0]
}

// convolve writes the pre-activation of row t, channels from lo on, to y.
func (k *convWork) convolve(y []float32, t, lo int) {
	f := firstRow(k.first, t)
	active.vec.conv4(len(y), &y[0], &k.bias[lo], &k.w[lo], k.tap(t-3, f, lo), k.tap(t-2, f, lo), k.tap(t-1, f, lo), k.tap(t, f, lo), k.n)
}

// forward writes one task's share of y.
func (k *convWork) forward(t0, t1, lo, hi int) {
	for t := t0; t < t1; t++ {
		out := k.y.Row(t)[lo:hi]
		k.convolve(out, t, lo)
		if k.Act == SiLU {
			active.vec.silu(len(out), &out[0], &out[0])
			continue
		}
		for i, v := range out {
			out[i] = activate(k.Act, v)
		}
	}
}

// convGradTask is one task of the backward pass.
type convGradTask struct {
	*convWork
	t0, t1, lo, hi int
	pre            []float32 // the pre-activation of a row
	grads          []float32 // the gradients of the last four rows' pre-activations
}

// backward adds one task's share of dx and writes its share of dw and db to part.
func (k *convWork) backward(t0, t1, lo, hi int) {
	n := hi - lo
	buf := borrow(5 * n)
	defer giveBack(buf)
	b := convGradTask{k, t0, t1, lo, hi, buf.data[:n], buf.data[n:]}
	end := t1
	if !k.dx.Absent() {
		end = min(k.x.Rows, t1+3) // the task's last inputs are also taps of these rows
	}
	for t := t0; t < end; t++ {
		b.preGrad(t)
		if k.part != nil && t < t1 {
			b.addWeightGrad(t)
		}
		if !k.dx.Absent() {
			b.addInputGrads(t)
		}
	}
}

// grad returns the slot for row t's pre-activation gradient, which remains valid until row t+3.
func (b *convGradTask) grad(t int) []float32 {
	n := b.hi - b.lo
	return b.grads[t%4*n : (t%4+1)*n]
}

// preGrad computes row t's pre-activation gradient, dy·act′.
func (b *convGradTask) preGrad(t int) {
	g, dy := b.grad(t), b.dy.Row(t)[b.lo:b.hi]
	b.convolve(b.pre, t, b.lo)
	if b.Act == SiLU {
		active.vec.siluGrad(len(g), &g[0], &dy[0], &b.pre[0])
		return
	}
	for i, v := range b.pre {
		g[i] = dy[i] * derivative(b.Act, v)
	}
}

// addWeightGrad adds row t's share of dw and db.
func (b *convGradTask) addWeightGrad(t int) {
	v, f, lo, n := &active.vec, firstRow(b.first, t), b.lo, b.n
	part := b.part[b.t0/convRows*5*n:]
	g := b.grad(t)
	v.convGrad4(len(g), &g[0], &part[lo], b.tap(t-3, f, lo), b.tap(t-2, f, lo), b.tap(t-1, f, lo), b.tap(t, f, lo), n)
	v.add(len(g), &part[4*n+lo], &g[0])
}

// addInputGrads adds dx for every row that row t completes: row t−3, and the later ones if t is the last of its
// document.
func (b *convGradTask) addInputGrads(t int) {
	f := max(firstRow(b.first, t), b.t0)
	last := t+1 == b.x.Rows || firstRow(b.first, t+1) == t+1
	for s := max(t-3, f); s <= t && s < b.t1; s++ {
		if s == t-3 || last {
			b.addInputGrad(s, t)
		}
	}
}

// addInputGrad adds to dx of row s the contributions of the rows that read it: s … s+3, but none past last, the
// document's last row.
func (b *convGradTask) addInputGrad(s, last int) {
	from := func(t int) *float32 {
		if t > last {
			return &b.zero[0]
		}
		return &b.grad(t)[0]
	}
	dx := &b.dx.Row(s)[b.lo]
	active.vec.conv4(b.hi-b.lo, dx, dx, &b.w[b.lo], from(s+3), from(s+2), from(s+1), from(s), b.n)
}

// runBackward is Backward for the first n channels.
func (k *convWork) runBackward(dw, db []float32) {
	bands := (k.x.Rows + convRows - 1) / convRows
	if dw == nil && db == nil {
		k.run(k.backward)
		return
	}
	buf := borrow(bands * 5 * k.n)
	defer giveBack(buf)
	clear(buf.data)
	k.part = buf.data
	k.run(k.backward)
	for band := range bands {
		part := k.part[band*5*k.n:]
		for i := range k.n {
			for j := range 4 {
				if dw != nil {
					dw[i*4+j] += part[j*k.n+i]
				}
			}
			if db != nil {
				db[i] += part[4*k.n+i]
			}
		}
	}
}
