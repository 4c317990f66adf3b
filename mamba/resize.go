package mamba

import (
	"fmt"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
)

// Resize changes the vocabulary size to v. Existing rows keep their values; new rows of the table, and of an untied
// head, are the mean of the old ones, as with [LoadOptions.VocabSize]. A tied head follows the table. Adapters on the
// table or the head must be merged or removed first. Graphs recorded before the call keep the old table.
func (m *Model) Resize(v int) error {
	if v < 1 || v > maxSize {
		return fmt.Errorf("mamba: resize: want a vocabulary between 1 and %d, got %d", maxSize, v)
	}
	if m.Embeddings.LowRank != nil || m.Head.LowRank != nil {
		return fmt.Errorf("mamba: resize: the embedding table or the head has an adapter of the old size")
	}
	tied := m.Tied()
	for _, p := range []*ag.Param{m.Embeddings.Weight, m.Head.Weight} {
		if of, _, ok := p.Quantized(); ok {
			return fmt.Errorf("mamba: resize: %s is stored in %v; load the model in float32", p.Name, of)
		}
		if p.IsBF16() {
			return fmt.Errorf("mamba: resize: %s is stored in bfloat16; load the model in float32", p.Name)
		}
		p.Unpack()
	}
	m.Embeddings.Weight = replacement(m.Embeddings.Weight, v)
	if tied {
		m.Head.Weight = m.Embeddings.Weight
	} else {
		m.Head.Weight = replacement(m.Head.Weight, v)
	}
	m.Config.VocabSize = v
	return nil
}

// replacement returns a copy of p with v rows.
func replacement(p *ag.Param, v int) *ag.Param {
	q := ag.NewParam(p.Name, tensor.New(tensor.WithShape(v, p.Shape()[1]), tensor.WithBacking(resized(p.Float32s(), p.Shape()[1], v))))
	if p.Trainable() {
		q.Train() // float32: cannot fail
	}
	return q
}

// resized returns a copy of a table, whose rows have the given width, with v rows.
func resized(old []float32, width, v int) []float32 {
	rows := make([]float32, v*width)
	n := copy(rows, old) / width
	if n == v {
		return rows
	}
	sums := make([]float64, width)
	for i, x := range old {
		sums[i%width] += float64(x)
	}
	for i := n * width; i < len(rows); i++ {
		rows[i] = float32(sums[i%width] / float64(n))
	}
	return rows
}
