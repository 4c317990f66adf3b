package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/label"
)

// LossOptions modify [CrossEntropy].
type LossOptions struct {
	// Smoothing is the share of the target's probability that is spread over the whole vocabulary.
	Smoothing float64
}

// CrossEntropy returns the sum over rows of −log softmax(x·Wᵀ)[label of the next row], a scalar, for hidden states x
// (rows, m) and the LM head w (v, m), which may have an adapter. A row counts if the next row belongs to the same
// document and its label is not negative.
//
// Head and loss are one operation because the logits of a batch would be its largest array. Logits exist for only one
// chunk of rows at a time. In training, each chunk's logits, loss, and gradient are computed together in the backward
// pass, so the head's product is computed only once. The results are returned in the [Loss] of the run.
func CrossEntropy(x, w Var, lr LowRank, o LossOptions) Var {
	op32, op64 := crossEntropy[float32]{newBranchConstants[float32](lr), o.Smoothing}, crossEntropy[float64]{newBranchConstants[float64](lr), o.Smoothing}
	return Apply(op32, op64, x, w, x.Graph().labels(), lr.A, lr.B, lr.Magnitude)
}

type crossEntropy[T kernel.Float] struct {
	low       branchConstants[T]
	smoothing float64
}

// Inputs of crossEntropy.
const (
	lossX = iota
	lossW
	lossLabels
	lossA
	lossB
	lossMagnitude
)

func (crossEntropy[T]) Name() string { return "cross_entropy" }

func (o crossEntropy[T]) Shape(in [][]int) ([]int, error) {
	if err := checkProjection(in[lossX], in[lossW]); err != nil {
		return nil, err
	}
	if !(o.smoothing >= 0 && o.smoothing <= 1) {
		return nil, fmt.Errorf("label smoothing must be between 0 and 1, got %v", o.smoothing)
	}
	return nil, o.low.check(in[lossW], in[lossA], in[lossB])
}

// Work counts the head's product only for rows that predict a label.
func (crossEntropy[T]) Work(in [][]int, need []bool) Work {
	return projectionWork(in[lossLabels][0], in[lossW], in[lossA], in[lossB], [4]bool{need[lossX], need[lossW], need[lossA], need[lossB]})
}

func (o crossEntropy[T]) Forward(c *Call[T]) {
	if !c.Training {
		o.chunks(c)
	}
}

// With p = softmax of a row's logits and q its target distribution: dlogits = Scale·(p − q); dx = dlogits·W and
// dW = dlogitsᵀ·x as in [Linear].
func (o crossEntropy[T]) Backward(c *Call[T]) { o.chunks(c) }

// chunkBytes bounds the memory of one chunk's logits: 256 rows of a vocabulary of 50,280 in float32. The backward
// product reads the whole head once per chunk, so smaller chunks would be slower.
const chunkBytes = 52 << 20

// headChunk is the memory for one chunk of rows.
type headChunk[T kernel.Float] struct {
	x, dx, logits kernel.Mat[T]
	branch        branch[T]
	targets       []int
	rows          []int        // of the batch, parallel to targets
	dora          *headDora[T] // nil for plain LoRA
}

// chunks computes the loss of every counted row and, in training, the gradients. All chunks have about the same size.
func (o crossEntropy[T]) chunks(c *Call[T]) {
	v := c.In[lossW].Shape[0]
	var rows, targets []int
	for t, target := range c.In[lossLabels].Ints {
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
		o.chunk(c, h.first(to-from, rows[from:to], targets[from:to]))
	}
}

func elementSize[T kernel.Float]() uintptr {
	var z T
	if _, ok := any(z).(float32); ok {
		return 4
	}
	return 8
}

// maxRows returns the maximum number of rows in a chunk.
func maxRows[T kernel.Float](v int) int { return max(16, chunkBytes/(v*int(elementSize[T]()))) }

// chunkRows returns the number of rows per chunk, given the number of counted rows.
func chunkRows[T kernel.Float](rows, v int) int {
	limit := maxRows[T](v)
	chunks := (rows + limit - 1) / limit
	return (rows + chunks - 1) / chunks
}

func (o crossEntropy[T]) ScratchSize(in [][]int) int {
	v, m, r := o.sizes(in[lossW], in[lossA])
	n := min(in[lossX][0], maxRows[T](v))
	return n*(3*m+v+2*r) + headDoraSize(n, in[lossW], in[lossMagnitude])
}

// sizes returns the vocabulary size, the width of the hidden states and the adapter's rank, or 0 without an adapter.
func (crossEntropy[T]) sizes(w, a []int) (v, m, r int) {
	if a != nil {
		r = a[0]
	}
	return w[0], w[1], r
}

func (o crossEntropy[T]) allocate(c *Call[T], n int) headChunk[T] {
	v, m, r := o.sizes(c.In[lossW].Shape, c.In[lossA].Shape)
	s := c.Scratch(n*(3*m+v+2*r) + headDoraSize(n, c.In[lossW].Shape, c.In[lossMagnitude].Shape))
	cut := func(cols int) kernel.Mat[T] {
		mat := kernel.Dense(s[:n*cols], n, cols)
		s = s[n*cols:]
		return mat
	}
	h := headChunk[T]{x: cut(m), dx: cut(m), logits: cut(v), branch: branch[T]{
		branchConstants: o.low, a: c.In[lossA].Mat(), b: c.In[lossB].Mat(), da: c.DIn[lossA].Mat(), db: c.DIn[lossB].Mat(),
		spare: cut(m), z: cut(r), dz: cut(r),
	}}
	if !c.In[lossMagnitude].Absent() {
		h.dora = newHeadDora(c, o.low.scale, n, s)
	}
	return h
}

// first returns a chunk with the given rows and targets that uses the first n rows of h's memory.
func (h headChunk[T]) first(n int, rows, targets []int) headChunk[T] {
	h.rows, h.targets, h.branch.rows = rows, targets, rows
	for _, m := range []*kernel.Mat[T]{&h.x, &h.dx, &h.logits, &h.branch.spare, &h.branch.z, &h.branch.dz} {
		*m = top(*m, n)
	}
	return h
}

// chunk gathers the counted rows, so that no work is spent on others, and adds their loss and gradients.
func (o crossEntropy[T]) chunk(c *Call[T], h headChunk[T]) {
	w := c.In[lossW]
	kernel.Gather(h.x, c.In[lossX].Mat(), h.rows)
	project(h.logits, h.x, w, nil)
	h.branch.forward(c, h.logits, h.x)
	h.dora.rescale(h.logits)
	if !c.Training {
		o.sum(c, h, kernel.Mat[T]{})
		return
	}
	dlogits := h.logits
	o.sum(c, h, dlogits)
	h.dora.backward(c.DIn[lossMagnitude], dlogits)
	if d := c.DIn[lossW]; !d.Absent() {
		kernel.MatMulTN(kernel.Add, d.Mat(), 1, dlogits, h.x)
	}
	dx := c.DIn[lossX]
	if dx.Absent() {
		h.branch.backward(c, kernel.Mat[T]{}, dlogits, h.x)
		return
	}
	projectBack(kernel.Set, h.dx, dlogits, w)
	h.branch.backward(c, h.dx, dlogits, h.x)
	kernel.ScatterAdd(dx.Mat(), h.dx, h.rows)
}

// sum adds the chunk's losses to the run's and sets dlogits, which may be absent or share memory with the logits.
func (o crossEntropy[T]) sum(c *Call[T], h headChunk[T], dlogits kernel.Mat[T]) {
	if c.device != nil {
		o.sumOnDevice(c, h, dlogits)
		return
	}
	loss := &c.run.loss
	if !c.Training {
		best := make([]int, len(h.rows))
		kernel.ArgMax(best, h.logits)
		for i, target := range h.targets {
			if best[i] == target {
				loss.Correct++
			}
		}
	}
	nll := make([]float64, len(h.rows))
	kernel.CrossEntropy(nll, dlogits, h.logits, h.targets, T(c.run.scale), o.smoothing)
	for i, t := range h.rows {
		loss.Rows[t] = nll[i]
		loss.Sum += nll[i]
	}
	loss.Tokens += len(h.rows)
}

// sumOnDevice is sum on a device. The losses are fetched after the run.
func (o crossEntropy[T]) sumOnDevice(c *Call[T], h headChunk[T], dlogits kernel.Mat[T]) {
	l := kernel.DeviceLoss{Logits: f32(h.logits), DLogits: f32(dlogits), Targets: h.targets, Scale: float32(c.run.scale), Smoothing: o.smoothing}
	l.NLL, l.Hits = c.device.losses(c.run, h.rows)
	if c.Training {
		l.Hits = nil
	}
	c.device.CrossEntropy(l)
}

// top returns the first n rows of m.
func top[T kernel.Float](m kernel.Mat[T], n int) kernel.Mat[T] {
	return kernel.Dense(m.Data[:n*m.Cols], n, m.Cols)
}
