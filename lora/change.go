package lora

import (
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// change is an adapter's change of one weight, read from memory or from a file.
type change struct {
	a, b      []float32
	rank      int
	scale     float64
	magnitude []float32 // nil: plain LoRA
	from, to  int       // the changed rows; both 0 for all
	table     bool      // the weight is that of an embedding
}

// fold adds share times the change to w (rows, cols) in float32. With a magnitude, the rows (for a table, the
// columns) of the changed weight are first rescaled to their magnitudes.
func (c *change) fold(w []float32, rows, cols int, share float64) {
	if c.to > 0 {
		w, rows = w[c.from*cols:c.to*cols], c.to-c.from
	}
	if c.magnitude == nil {
		c.add(kernel.Dense(w, rows, cols), share)
		return
	}
	whole := slices.Clone(w)
	c.add(kernel.Dense(whole, rows, cols), 1)
	norms := ag.AdaptedWeight[float32]{W: ag.Array[float32]{Shape: []int{rows, cols}, Data: whole}, Outputs: c.outputs()}.Norms()
	for i := range rows {
		for j := range cols {
			k := i
			if c.table {
				k = j
			}
			x := whole[i*cols+j] * float32(float64(c.magnitude[k])*ag.InverseNorm(norms[k]))
			if share == 1 {
				w[i*cols+j] = x
			} else {
				w[i*cols+j] += float32(share) * (x - w[i*cols+j])
			}
		}
	}
}

// add adds share·Scale·B·A to w or, for a table, its transpose.
func (c *change) add(w kernel.Mat[float32], share float64) {
	alpha := float32(share * c.scale)
	if !c.table {
		kernel.MatMulNN(kernel.Add, w, alpha, kernel.Dense(c.b, w.Rows, c.rank), kernel.Dense(c.a, c.rank, w.Cols))
		return
	}
	bt := make([]float32, len(c.b))
	for j := range w.Cols {
		for k := range c.rank {
			bt[k*w.Cols+j] = c.b[j*c.rank+k]
		}
	}
	kernel.MatMulTN(kernel.Add, w, alpha, kernel.Dense(c.a, c.rank, w.Rows), kernel.Dense(bt, c.rank, w.Cols))
}

// outputs returns the output axis of the weight.
func (c *change) outputs() ag.OutputAxis {
	if c.table {
		return ag.ColumnOutputs
	}
	return ag.RowOutputs
}

// change returns the current change of the layer's weight.
func (l *layer) change() *change {
	c := &change{
		a: l.adapter.A.Float32s(), b: l.adapter.B.Float32s(), rank: l.adapter.Rank(), scale: l.adapter.Scale,
		from: l.adapter.From, to: l.adapter.To, table: l.Embedding != nil,
	}
	if l.adapter.Magnitude != nil {
		c.magnitude = l.adapter.Magnitude.Float32s()
	}
	return c
}
