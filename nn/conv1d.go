package nn

import (
	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Conv1d is a causal convolution that gives each channel its own k taps, followed by an activation. The last tap
// multiplies the current row.
type Conv1d struct {
	Weight *ag.Param // (d, 1, k)
	Bias   *ag.Param // (d), or nil
	Act    kernel.Activation
	From   int // the first column that Forward reads
	// Start (k−1, d) is the input before a document's first row; nil for zeros.
	Start *ag.Param
}

// width returns k, the number of taps.
func (c *Conv1d) width() int { return c.Weight.Shape()[2] }

// Forward records the layer for d columns of x. The result is (rows, d).
func (c *Conv1d) Forward(x ag.Var) ag.Var {
	g := x.Graph()
	return ag.Conv1d(ag.ConvInput{X: x, From: c.From, W: g.Param(c.Weight), Bias: g.Param(c.Bias), Start: g.Param(c.Start), Act: c.Act})
}

// StateSize returns the number of inputs that later rows depend on: k−1 per channel.
func (c *Conv1d) StateSize() int { return c.Weight.Shape()[0] * (c.width() - 1) }

// StartPlace returns the place for Start.
func (c *Conv1d) StartPlace() Start {
	return Start{Param: &c.Start, Shape: []int{c.width() - 1, c.Weight.Shape()[0]}}
}

// Params returns the weight and the bias.
func (c *Conv1d) Params() []*ag.Param {
	if c.Bias == nil {
		return []*ag.Param{c.Weight}
	}
	return []*ag.Param{c.Weight, c.Bias}
}

// Kernel returns the layer in the form that the kernels take.
func (c *Conv1d) Kernel() kernel.Conv[float32] {
	k := kernel.Conv[float32]{W: c.Weight.Float32s(), K: c.width(), Act: c.Act}
	if c.Bias != nil {
		k.Bias = c.Bias.Float32s()
	}
	return k
}
