package nn

import (
	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Linear is y = x·Wᵀ + b, with an optional low-rank change of W.
type Linear struct {
	Weight  *ag.Param // (out, in)
	Bias    *ag.Param // (out), or nil
	LowRank *LowRank  // or nil
}

// Out returns the number of output features.
func (l *Linear) Out() int { return l.Weight.Shape()[0] }

// In returns the number of input features.
func (l *Linear) In() int { return l.Weight.Shape()[1] }

// Params returns the weight and the bias.
func (l *Linear) Params() []*ag.Param {
	if l.Bias == nil {
		return []*ag.Param{l.Weight}
	}
	return []*ag.Param{l.Weight, l.Bias}
}

// Forward records the layer for x (rows, in). The result is (rows, out).
func (l *Linear) Forward(x ag.Var) ag.Var {
	g := x.Graph()
	return ag.Linear(x, g.Param(l.Weight), g.Param(l.Bias), l.LowRank.record(g))
}

// Apply writes the layer's output for x (rows, in) to y (rows, out). Rows are independent of each other.
func (l *Linear) Apply(y, x kernel.Mat[float32]) {
	if l.Bias != nil && l.LowRank == nil && !l.Weight.Trainable() {
		l.Weight.Packed().ForwardBias(y, x, l.Bias.Float32s())
		return
	}
	l.multiply(kernel.Set, y, x)
	l.LowRank.apply(l.Weight, y, x)
	if l.Bias != nil {
		kernel.AddRow(y, l.Bias.Float32s())
	}
}

// ApplyTo adds the layer's output for x (rows, in) to y (rows, out).
func (l *Linear) ApplyTo(y, x kernel.Mat[float32]) {
	if l.Bias != nil || l.LowRank.rescales() {
		own := kernel.Dense(make([]float32, y.Rows*y.Cols), y.Rows, y.Cols)
		l.Apply(own, x)
		kernel.AddMat(y, own)
		return
	}
	l.multiply(kernel.Add, y, x)
	l.LowRank.apply(l.Weight, y, x)
}

// multiply computes y = x·Wᵀ or adds it to y. A frozen weight is read from its packed copy. A trainable weight changes
// at every step and is read directly.
func (l *Linear) multiply(mode kernel.Mode, y, x kernel.Mat[float32]) {
	if l.Weight.Trainable() {
		kernel.MatMulNT(mode, y, 1, x, matrix(l.Weight))
		return
	}
	l.Weight.Packed().Forward(mode, y, x)
}

// CrossEntropy records the layer as the head of a language model on hidden states x (rows, in), together with the loss
// for the batch's labels: the summed cross entropy, a scalar. The logits of the whole batch are never stored.
func (l *Linear) CrossEntropy(x ag.Var, o ag.LossOptions) ag.Var {
	g := x.Graph()
	return ag.CrossEntropy(x, g.Param(l.Weight), l.LowRank.record(g), o)
}
