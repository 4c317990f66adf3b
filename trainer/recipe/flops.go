package recipe

import (
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/mamba"
	"mambatrain/nn"
)

// Work counts the floating-point operations of matrix products: 2·m·n·k for each product that is needed. Look-ups, the
// scan, the convolution, norms and everything else element by element are not counted.
type Work struct{ Forward, Backward float64 }

func (w Work) Total() float64 { return w.Forward + w.Backward }

// WorkOf counts one pass over documents of rows tokens in all, of which labels have something to predict. Backward
// counts the gradients that the trainable parameters ask for: no weight that is frozen has one, and no input below the
// first thing that trains.
func WorkOf(m *mamba.Model, rows, labels int) Work {
	c := workCounter{}
	c.lookup(m, rows)
	for _, b := range m.Layers {
		c.below = c.below || b.Norm.Weight.Trainable()
		for _, s := range b.Mixer.Slots() {
			c.linear(s.Linear, rows)
			c.below = c.below || slices.ContainsFunc(b.Mixer.Params(), (*ag.Param).Trainable)
		}
	}
	c.below = c.below || m.NormF.Weight.Trainable()
	c.linear(m.Head, labels)
	return c.Work
}

// workCounter counts work along a model.
type workCounter struct {
	Work
	below bool // something below trains, so that the gradient has to get there
}

// lookup counts the embedding table's adapter; the table itself is only read.
func (w *workCounter) lookup(m *mamba.Model, rows int) {
	e := m.Embeddings
	w.below = e.Weight.Trainable()
	if e.LowRank == nil {
		return
	}
	product := 2 * float64(rows) * float64(e.LowRank.Rank()) * float64(m.Config.HiddenSize)
	w.Forward += product
	if e.LowRank.B.Trainable() {
		w.Backward += product // dB
	}
	if e.LowRank.A.Trainable() {
		w.Backward += product // the gradient of A's rows
	}
	w.below = w.below || e.LowRank.A.Trainable() || e.LowRank.B.Trainable()
}

// linear counts a projection and its adapter. Its input has a gradient if anything below trains.
func (w *workCounter) linear(l *nn.Linear, rows int) {
	inputs, out, in := w.below, float64(l.Out()), float64(l.In())
	product := 2 * float64(rows) * out * in
	w.Forward += product
	if inputs {
		w.Backward += product
	}
	if l.Weight.Trainable() {
		w.Backward += product
	}
	w.below = w.below || l.Weight.Trainable() || l.Bias != nil && l.Bias.Trainable()
	a := l.LowRank
	if a == nil {
		return
	}
	if a.To > 0 {
		out = float64(a.To - a.From)
	}
	down, up := 2*float64(rows)*float64(a.Rank())*in, 2*float64(rows)*float64(a.Rank())*out
	w.Forward += down + up
	if !a.A.Trainable() && !a.B.Trainable() && !inputs {
		return
	}
	w.Backward += up // the gradient of x·Aᵀ
	if inputs {
		w.Backward += down
	}
	if a.A.Trainable() {
		w.Backward += down
	}
	if a.B.Trainable() {
		w.Backward += up
	}
	w.below = w.below || a.A.Trainable() || a.B.Trainable()
}
