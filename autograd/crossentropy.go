package autograd

import (
	"mambatrain/autograd/kernel"
	"mambatrain/internal/label"
)

// LossOptions modify [CrossEntropy].
type LossOptions struct {
	// Smoothing is the share of the target's probability that is spread over the whole vocabulary.
	Smoothing float64
}

// CrossEntropy returns the sum over rows of −log softmax(x·Wᵀ)[label of the next row], a scalar, for hidden states x
// (rows, m) and the LM head w (v, m), which may have an adapter. A row counts if the next one belongs to the same
// document and its label is not negative.
//
// Head and loss are one operation because the logits of a batch would be its largest array: they exist for a chunk of
// rows only. While training, the chunk's gradient is computed as long as its logits are there, in the backward pass, so
// the head's product is computed once. The numbers are returned as the [Loss] of the run.
func CrossEntropy(x, w Var, lr LowRank, o LossOptions) Var {
	return Apply(crossEntropy[float32]{newLinear[float32](lr), o.Smoothing}, crossEntropy[float64]{newLinear[float64](lr), o.Smoothing}, x, w, x.Graph().labels(), lr.A, lr.B, lr.Magnitude)
}

type crossEntropy[T kernel.Float] struct {
	head      linear[T]
	smoothing float64
}

func (crossEntropy[T]) Name() string { return "cross_entropy" }

func (o crossEntropy[T]) Shape(in [][]int) ([]int, error) {
	_, err := o.head.Shape([][]int{in[0], in[1], nil, in[3], in[4]})
	return nil, err
}

func (o crossEntropy[T]) Forward(c *Call[T]) {
	if !c.Training {
		o.chunks(c)
	}
}

// With p = softmax of a row's logits and q its target distribution: dlogits = Scale·(p − q); dx = dlogits·W and
// dW = dlogitsᵀ·x as in [Linear].
func (o crossEntropy[T]) Backward(c *Call[T]) { o.chunks(c) }

// chunkBytes bounds the memory of one chunk's logits: 256 rows of a vocabulary of 50,280 in float32. The backward product
// reads the whole head once for each chunk, so fewer would be slower.
const chunkBytes = 52 << 20

// headChunk is the memory for one chunk of rows.
type headChunk[T kernel.Float] struct {
	x, dx, logits, z, dz kernel.Mat[T]
	branch               kernel.Mat[T] // the adapter's inputs and their gradient, where dropout makes them different
	rows, targets        []int
	dora                 *headDora[T] // nil: plain LoRA
}

// chunks computes the loss of every counted row, and its gradients if somebody wants them. The chunks are equally long.
func (o crossEntropy[T]) chunks(c *Call[T]) {
	v := c.In[1].Shape[0]
	var rows, targets []int
	for t, target := range c.In[2].Ints {
		if target >= v {
			c.Fail("label %d after row %d is outside the vocabulary of %d", target, t, v)
			return
		}
		if label.Counts(target) {
			rows, targets = append(rows, t), append(targets, target)
		}
	}
	if len(rows) == 0 {
		return
	}
	h := o.allocate(c, chunkRows[T](len(rows), v))
	for from := 0; from < len(rows); from += h.x.Rows {
		to := min(from+h.x.Rows, len(rows))
		h.rows, h.targets = rows[from:to], targets[from:to]
		o.chunk(c, h)
	}
}

func elementSize[T kernel.Float]() uintptr {
	var z T
	if _, ok := any(z).(float32); ok {
		return 4
	}
	return 8
}

// mostRows is how many rows a chunk may have.
func mostRows[T kernel.Float](v int) int { return max(16, chunkBytes/(v*int(elementSize[T]()))) }

// chunkRows is how many of the counted rows make a chunk.
func chunkRows[T kernel.Float](rows, v int) int {
	limit := mostRows[T](v)
	chunks := (rows + limit - 1) / limit
	return (rows + chunks - 1) / chunks
}

func (o crossEntropy[T]) ScratchSize(in [][]int) int {
	v, m, r := o.sizes(in[1], in[3])
	n := min(in[0][0], mostRows[T](v))
	return n*(3*m+v+2*r) + headDoraSize(n, in[1], in[5])
}

// sizes are the vocabulary, the width of the hidden states and the adapter's rank, 0 without one.
func (crossEntropy[T]) sizes(w, a []int) (v, m, r int) {
	if a != nil {
		r = a[0]
	}
	return w[0], w[1], r
}

func (o crossEntropy[T]) allocate(c *Call[T], n int) *headChunk[T] {
	v, m, r := o.sizes(c.In[1].Shape, c.In[3].Shape)
	s := c.Scratch(n*(3*m+v+2*r) + headDoraSize(n, c.In[1].Shape, c.In[5].Shape))
	cut := func(cols int) kernel.Mat[T] {
		mat := kernel.Dense(s[:n*cols], n, cols)
		s = s[n*cols:]
		return mat
	}
	h := &headChunk[T]{x: cut(m), dx: cut(m), branch: cut(m), logits: cut(v), z: cut(r), dz: cut(r)}
	if !c.In[5].Absent() {
		h.dora = newHeadDora(c, o.head.scale, n, s)
	}
	return h
}

// chunk gathers the counted rows, so that others cost nothing, and adds their loss and gradients.
func (o crossEntropy[T]) chunk(c *Call[T], h *headChunk[T]) {
	n := len(h.rows)
	x, dx, logits, z, dz := top(h.x, n), top(h.dx, n), top(h.logits, n), top(h.z, n), top(h.dz, n)
	kernel.Gather(x, c.In[0].Mat(), h.rows)
	project(logits, x, c.In[1], nil)
	branch := x
	if z.Cols > 0 {
		branch = o.dropped(c, h, x)
		kernel.MatMulNT(kernel.Set, z, 1, branch, c.In[3].Mat())
		kernel.MatMulNT(kernel.Add, logits, o.head.scale, z, c.In[4].Mat())
	}
	h.dora.rescale(logits)
	var dlogits kernel.Mat[T]
	if c.Training {
		dlogits = logits
	}
	o.sum(c, h, logits, dlogits)
	if !c.Training {
		return
	}
	h.dora.backward(c.DIn[5], logits)
	if d := c.DIn[0]; !d.Absent() {
		projectBack(kernel.Set, dx, logits, c.In[1])
	}
	if d := c.DIn[1]; !d.Absent() {
		kernel.MatMulTN(kernel.Add, d.Mat(), 1, logits, x)
	}
	if z.Cols > 0 {
		o.lowRank(c, h, dx, dz, logits, branch, z)
	}
	if d := c.DIn[0]; !d.Absent() {
		kernel.ScatterAdd(d.Mat(), dx, h.rows)
	}
}

// lowRank adds the gradients of the head's adapter and its part of dx.
func (o crossEntropy[T]) lowRank(c *Call[T], h *headChunk[T], dx, dz, dlogits, x, z kernel.Mat[T]) {
	kernel.MatMulNN(kernel.Set, dz, o.head.scale, dlogits, c.In[4].Mat())
	if d := c.DIn[4]; !d.Absent() {
		kernel.MatMulTN(kernel.Add, d.Mat(), o.head.scale, dlogits, z)
	}
	if d := c.DIn[3]; !d.Absent() {
		kernel.MatMulTN(kernel.Add, d.Mat(), 1, dz, x)
	}
	switch {
	case c.DIn[0].Absent():
	case o.head.dropout == 0:
		kernel.MatMulNN(kernel.Add, dx, 1, dz, c.In[3].Mat())
	default:
		d := top(h.branch, dx.Rows)
		kernel.MatMulNN(kernel.Set, d, 1, dz, c.In[3].Mat())
		drop(c, d, d, o.head.dropout, h.rows)
		kernel.AddMat(dx, d)
	}
}

// dropped returns the adapter's inputs for a chunk: x itself, or in training with dropout a copy.
func (o crossEntropy[T]) dropped(c *Call[T], h *headChunk[T], x kernel.Mat[T]) kernel.Mat[T] {
	if o.head.dropout == 0 || !c.Training {
		return x
	}
	d := top(h.branch, x.Rows)
	drop(c, d, x, o.head.dropout, h.rows)
	return d
}

// sum adds the chunk's losses to those of the run; dlogits, if present, may be the memory of logits.
func (o crossEntropy[T]) sum(c *Call[T], h *headChunk[T], logits, dlogits kernel.Mat[T]) {
	loss := &c.run.loss
	if !c.Training {
		best := make([]int, len(h.rows))
		kernel.ArgMax(best, logits)
		for i, target := range h.targets {
			if best[i] == target {
				loss.Correct++
			}
		}
	}
	nll := make([]float64, len(h.rows))
	kernel.CrossEntropy(nll, dlogits, logits, h.targets, T(c.run.scale), o.smoothing)
	for i, t := range h.rows {
		loss.Rows[t] = nll[i]
		loss.Sum += nll[i]
	}
	loss.Tokens += len(h.rows)
}

// top is the first n rows of m.
func top[T kernel.Float](m kernel.Mat[T], n int) kernel.Mat[T] {
	return kernel.Dense(m.Data[:n*m.Cols], n, m.Cols)
}
