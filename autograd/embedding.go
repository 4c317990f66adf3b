package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// Embedding returns the rows of table (v, m) selected by ids (rows), plus Scale·A[:, id]ᵀ·Bᵀ if there is an adapter
// with A (r, v) and B (m, r). The result is (rows, m). Dropout does not apply, as in PEFT. The run fails if an id is
// outside the table.
func Embedding(table, ids Var, lr LowRank) Var {
	y := Apply(embedding[float32]{float32(lr.Scale)}, embedding[float64]{lr.Scale}, table, ids, lr.A, lr.B)
	if !lr.Magnitude.absent() {
		return rescale(y, table, Var{}, lr, ColumnOutputs)
	}
	return y
}

type embedding[T kernel.Float] struct{ scale T }

// Inputs of embedding.
const (
	embeddingTable = iota
	embeddingIDs
	embeddingA
	embeddingB
)

func (embedding[T]) Name() string { return "embedding" }

func (embedding[T]) Shape(in [][]int) ([]int, error) {
	table, ids, a, b := in[embeddingTable], in[embeddingIDs], in[embeddingA], in[embeddingB]
	if len(table) != 2 || len(ids) != 1 {
		return nil, fmt.Errorf("table is %v, ids are %v: want (v, m) and (rows)", table, ids)
	}
	if a != nil && (len(a) != 2 || len(b) != 2 || a[1] != table[0] || b[0] != table[1] || a[0] != b[1]) {
		return nil, fmt.Errorf("table is %v, A is %v, B is %v: want (v, m), (r, v), and (m, r)", table, a, b)
	}
	return []int{ids[0], table[1]}, nil
}

func (embedding[T]) ScratchSize(in [][]int) int {
	if in[embeddingA] == nil {
		return 0
	}
	return 2 * in[embeddingIDs][0] * in[embeddingA][0]
}

// Work counts only the branch, which multiplies rows of Aᵀ by Bᵀ. The table itself is only read.
func (embedding[T]) Work(in [][]int, need []bool) (w Work) {
	if in[embeddingA] == nil {
		return w
	}
	product := 2 * float64(in[embeddingIDs][0]) * float64(in[embeddingA][0]) * float64(in[embeddingTable][1])
	w.Forward = product
	w.addIf(need[embeddingA], product)
	w.addIf(need[embeddingB], product)
	return w
}

func (embedding[T]) Saves([]bool) []bool {
	return []bool{embeddingIDs: true, embeddingA: true, embeddingB: true}
}

func (o embedding[T]) Forward(c *Call[T]) {
	table, ids := c.In[embeddingTable], c.In[embeddingIDs].Ints
	for t, id := range ids {
		if id < 0 || id >= table.Shape[0] {
			c.Fail("token id %d in row %d is outside the vocabulary of %d", id, t, table.Shape[0])
			return
		}
	}
	gather(c.Out.Mat(), table, ids)
	if !c.In[embeddingA].Absent() {
		kernel.MatMulNT(kernel.Add, c.Out.Mat(), o.scale, o.gatherA(c), c.In[embeddingB].Mat())
	}
}

// gather copies the rows of table selected by ids.
func gather[T kernel.Float](y kernel.Mat[T], table Array[T], ids []int) {
	if table.Data == nil {
		table.Param.Gather(f32(y), ids)
		return
	}
	kernel.Gather(y, table.Mat(), ids)
}

// gatherA returns z (rows, r), the columns of A selected by the ids.
func (embedding[T]) gatherA(c *Call[T]) kernel.Mat[T] {
	a, ids := c.In[embeddingA], c.In[embeddingIDs].Ints
	r, v := a.Shape[0], a.Shape[1]
	z := kernel.Dense(c.Scratch(2 * len(ids) * r)[:len(ids)*r], len(ids), r)
	kernel.GatherColumns(z, kernel.Dense(a.Data, r, v), ids)
	return z
}

// dtable[id] += dy, dB = Scale·dyᵀ·z, and dA[:, id] += Scale·dy·B.
func (o embedding[T]) Backward(c *Call[T]) {
	ids, dy := c.In[embeddingIDs].Ints, c.DOut.Mat()
	if d := c.DIn[embeddingTable]; !d.Absent() {
		kernel.ScatterAdd(d.Mat(), dy, ids)
	}
	if c.In[embeddingA].Absent() {
		return
	}
	z := o.gatherA(c)
	if d := c.DIn[embeddingB]; !d.Absent() {
		kernel.MatMulTN(kernel.Add, d.Mat(), o.scale, dy, z)
	}
	if d := c.DIn[embeddingA]; !d.Absent() {
		r, v := d.Shape[0], d.Shape[1]
		dz := kernel.Dense(c.Scratch(2 * len(ids) * r)[len(ids)*r:], len(ids), r)
		kernel.MatMulNN(kernel.Set, dz, o.scale, dy, c.In[embeddingB].Mat())
		kernel.ScatterAddColumns(kernel.Dense(d.Data, r, v), dz, ids)
	}
}
