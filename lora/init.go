package lora

import (
	"math/rand/v2"

	ag "mambatrain/autograd"
	"mambatrain/nn"
)

// initialize initializes A, B, and the magnitude as PEFT does.
func (l *layer) initialize(c Config, r *rand.Rand) {
	a, b := l.adapter.A, l.adapter.B
	switch {
	case l.Embedding != nil:
		nn.Normal(b, 1, r)
	case c.InitLoraWeights == InitPissa:
		l.principal = takePrincipal(l, approximate, r)
	case c.InitLoraWeights == InitGaussian:
		nn.Normal(a, 1/float64(a.Shape()[0]), r)
	default:
		nn.FanIn(a, a.Shape()[1], r)
	}
	if l.adapter.Magnitude != nil {
		copy(l.adapter.Magnitude.Float32s(), l.norms())
	}
}

// norms returns the norms of the base weight for the outputs that the adapter changes.
func (l *layer) norms() []float32 {
	w := ag.Array[float32]{Shape: l.Weight().Shape(), Param: l.Weight()}
	outputs := ag.RowOutputs
	if l.Embedding != nil {
		outputs = ag.ColumnOutputs
	}
	exact := ag.AdaptedWeight[float32]{W: w, From: l.adapter.From, To: l.adapter.To, Outputs: outputs}.Norms()
	norms := make([]float32, len(exact))
	for i, x := range exact {
		norms[i] = float32(x)
	}
	return norms
}
