package lora

import (
	"math"
	"math/rand/v2"

	"mambatrain/autograd/kernel"
	"mambatrain/nn"
)

// initialise gives A, B and the magnitude their first values, as PEFT draws them.
func (l *layer) initialise(c Config, r *rand.Rand) {
	a, b := l.adapter.A, l.adapter.B
	switch {
	case l.Embedding != nil:
		nn.Normal(b, 1, r)
	case c.InitLoraWeights == InitPissa:
		l.start = takePrincipal(l, approximate, r)
	case c.InitLoraWeights == InitGaussian:
		nn.Normal(a, 1/float64(a.Shape()[0]), r)
	default:
		nn.FanIn(a, a.Shape()[1], r)
	}
	if l.adapter.Magnitude != nil {
		copy(l.adapter.Magnitude.Float32s(), l.norms())
	}
}

// norms returns the norms of the weight's rows, of a table's columns, within the adapter's row group.
func (l *layer) norms() []float32 {
	w := l.Weight()
	rows, cols := w.Shape()[0], w.Shape()[1]
	from, to := l.adapter.From, l.adapter.To
	if to == 0 {
		to = rows
	}
	n := to - from
	if l.Embedding != nil {
		n = cols
	}
	squares, row := make([]float64, n), make([]float32, cols)
	for i := from; i < to; i++ {
		w.ReadRows(kernel.Dense(row, 1, cols), i)
		for j, x := range row {
			if l.Embedding != nil {
				squares[j] += float64(x) * float64(x)
			} else {
				squares[i-from] += float64(x) * float64(x)
			}
		}
	}
	norms := make([]float32, len(squares))
	for i, s := range squares {
		norms[i] = float32(math.Sqrt(s))
	}
	return norms
}
