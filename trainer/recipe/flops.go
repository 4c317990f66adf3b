package recipe

import (
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
func WorkOf(m *mamba.Model, rows, labels int) (w Work) {
	below := false // something below trains, so that the gradient has to get there
	w.lookup(m, rows, &below)
	for _, b := range m.Layers {
		w.norm(b.Norm.Weight.Trainable(), &below)
		x := b.Mixer
		w.linear(x.InProj, rows, &below)
		w.norm(x.Conv1d.Weight.Trainable() || x.Conv1d.Bias != nil && x.Conv1d.Bias.Trainable(), &below)
		w.linear(x.XProj, rows, &below)
		w.linear(x.DTProj, rows, &below)
		w.norm(x.ALog.Trainable() || x.D.Trainable(), &below)
		w.linear(x.OutProj, rows, &below)
	}
	w.norm(m.NormF.Weight.Trainable(), &below)
	w.linear(m.Head, labels, &below)
	return w
}

// norm stands for an operation without a matrix product.
func (w *Work) norm(trains bool, below *bool) { *below = *below || trains }

// lookup counts the embedding table's adapter; the table itself is only read.
func (w *Work) lookup(m *mamba.Model, rows int, below *bool) {
	e := m.Embeddings
	*below = e.Weight.Trainable()
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
	*below = *below || e.LowRank.A.Trainable() || e.LowRank.B.Trainable()
}

// linear counts a projection and its adapter. Its input has a gradient if anything below trains.
func (w *Work) linear(l *nn.Linear, rows int, below *bool) {
	inputs, out, in := *below, float64(l.Out()), float64(l.In())
	product := 2 * float64(rows) * out * in
	w.Forward += product
	if inputs {
		w.Backward += product
	}
	if l.Weight.Trainable() {
		w.Backward += product
	}
	*below = *below || l.Weight.Trainable() || l.Bias != nil && l.Bias.Trainable()
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
	*below = *below || a.A.Trainable() || a.B.Trainable()
}
