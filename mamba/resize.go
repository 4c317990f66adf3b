package mamba

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
)

// Resize changes the vocabulary to v ids. Rows that both have keep their values; new rows of the table, and of an untied
// head, are drawn from a normal distribution with the mean and deviation that each feature has over the old rows, so
// that a new id starts out as likely as an average old one. A tied head follows the table. Adapters on table or head
// must be merged or removed before. Graphs recorded before keep the old table.
func (m *Model) Resize(v int, r *rand.Rand) error {
	if v < 1 || v > maxSize {
		return fmt.Errorf("mamba: resize: want a vocabulary between 1 and %d, got %d", maxSize, v)
	}
	if m.Embeddings.LowRank != nil || m.Head.LowRank != nil {
		return fmt.Errorf("mamba: resize: the table or the head has an adapter of the old size")
	}
	tied := m.Tied()
	for _, p := range []*ag.Param{m.Embeddings.Weight, m.Head.Weight} {
		if p.IsBF16() {
			return fmt.Errorf("mamba: resize: %s is kept in bfloat16; load the model in float32", p.Name)
		}
		p.Unpack()
	}
	m.Embeddings.Weight = m.replace(m.Embeddings.Weight, v, r)
	if tied {
		m.Head.Weight = m.Embeddings.Weight
	} else {
		m.Head.Weight = m.replace(m.Head.Weight, v, r)
	}
	m.Config.VocabSize = v
	return nil
}

// replace puts a parameter with v rows in the place of p.
func (m *Model) replace(p *ag.Param, v int, r *rand.Rand) *ag.Param {
	q := ag.NewParam(p.Name, tensor.New(tensor.WithShape(v, p.Shape()[1]), tensor.WithBacking(resized(p.Float32s(), p.Shape()[1], v, r))))
	if p.Trainable() {
		q.Train() // float32: cannot fail
	}
	for i := range m.params {
		if m.params[i] == p {
			m.params[i] = q
		}
	}
	return q
}

// resized copies a table of rows of the given width to v rows.
func resized(old []float32, width, v int, r *rand.Rand) []float32 {
	rows := make([]float32, v*width)
	n := copy(rows, old) / width
	if n == v {
		return rows
	}
	mean, deviation := moments(old, width)
	for i := n * width; i < len(rows); i++ {
		j := i % width
		rows[i] = float32(mean[j] + deviation[j]*r.NormFloat64())
	}
	return rows
}

// moments returns mean and standard deviation of each column.
func moments(table []float32, width int) (mean, deviation []float64) {
	mean, deviation = make([]float64, width), make([]float64, width)
	rows := float64(len(table) / width)
	for i, x := range table {
		mean[i%width] += float64(x) / rows
	}
	for i, x := range table {
		d := float64(x) - mean[i%width]
		deviation[i%width] += d * d / rows
	}
	for j := range deviation {
		deviation[j] = math.Sqrt(deviation[j])
	}
	return mean, deviation
}
