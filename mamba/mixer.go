package mamba

import (
	"iter"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/nn"
)

// Mixer is the part of a [Block] in which a row depends on the rows before it. Each family of models has its own. Any
// other type that implements the interface can replace it.
type Mixer interface {
	// Forward records the mixer for x (rows, m); the result is (rows, m).
	Forward(x ag.Var) ag.Var
	// Apply computes the same without a graph and advances the state of the sequences.
	Apply(p *Pass)
	// StateSize returns the number of elements of a sequence's state: inputs of the convolution, and the state of the
	// recurrence.
	StateSize() (conv, ssm int)
	// Params lists the parameters in checkpoint order, under their full names, such as backbone.layers.0.mixer.D.
	Params() []*ag.Param
	// Slots lists the layers that can have an adapter, in the order in which they are computed.
	Slots() []nn.Slot
}

// Starter is implemented by mixers whose documents can start from a learned state instead of zeros.
type Starter interface {
	// Starts returns the slots for the initial states of the convolution and of the recurrence, in the layout of
	// [State].
	Starts() (conv, ssm nn.Start)
}

// Pass is one call of [Mixer.Apply]: new rows of several sequences, end to end.
type Pass struct {
	X kernel.Mat[float32] // (rows, m): the input
	Y kernel.Mat[float32] // (rows, m): the mixer adds its output to it

	// Conv and SSM are the states of all sequences, one after another; see [State].
	Conv, SSM []float32

	sequences int
	spans     []span
	first     []int
	scratch   [][]float32
	used      int // matrices of scratch in use
}

// span is the rows [from, to) of a chunk, which continue a sequence of the state.
type span struct{ sequence, from, to int }

// Part is the rows [From, To), which continue one sequence.
type Part struct {
	From, To int
	// First is, for each row, the first row of its document relative to From; negative if the document began earlier.
	First     []int
	Conv, SSM []float32 // the state of the sequence
}

// begin prepares the pass for the next mixer.
func (p *Pass) begin(x, y kernel.Mat[float32], conv, ssm []float32) {
	p.X, p.Y, p.Conv, p.SSM, p.used = x, y, conv, ssm, 0
}

// Scratch returns a matrix (rows, width) with unspecified contents, which the mixer may use until it returns.
func (p *Pass) Scratch(width int) kernel.Mat[float32] {
	if p.used == len(p.scratch) {
		p.scratch = append(p.scratch, nil)
	}
	buf := &p.scratch[p.used]
	p.used++
	n := p.X.Rows * width
	if cap(*buf) < n {
		*buf = kernel.Make[float32](n)
	}
	return kernel.Dense((*buf)[:n], p.X.Rows, width)
}

// Steps reports whether the pass has one row for each sequence, in order. Kernels process such a pass in one call.
func (p *Pass) Steps() bool {
	if len(p.first) != p.sequences || len(p.spans) != len(p.first) {
		return false
	}
	for i, s := range p.spans {
		if s.sequence != i || s.to-s.from != 1 || p.first[i] >= 0 {
			return false
		}
	}
	return true
}

// Parts yields the rows of each sequence.
func (p *Pass) Parts() iter.Seq[Part] {
	return func(yield func(Part) bool) {
		for _, s := range p.spans {
			part := Part{s.from, s.to, p.first[s.from:s.to], p.of(p.Conv, s.sequence), p.of(p.SSM, s.sequence)}
			if !yield(part) {
				return
			}
		}
	}
}

// of returns the state of sequence i.
func (p *Pass) of(all []float32, i int) []float32 {
	w := len(all) / max(1, p.sequences)
	return all[i*w : (i+1)*w]
}

// convolve computes the convolution c of x into u and advances its state.
func (p *Pass) convolve(u, x kernel.Mat[float32], c *nn.Conv1d) {
	conv := c.Kernel()
	if p.Steps() {
		conv.Step(u, x, p.Conv)
		return
	}
	for s := range p.Parts() {
		in := x.Slice(s.From, s.To, 0, x.Cols)
		conv.Forward(u.Slice(s.From, s.To, 0, u.Cols), in, s.First, s.Conv)
		conv.Tail(s.Conv, in, s.First, s.Conv)
	}
}

// slot returns the slot of l, one that usually gets an adapter. Its path is that of the weight.
func slot(l *nn.Linear, groups ...nn.RowGroup) nn.Slot {
	return nn.Slot{Path: strings.TrimSuffix(l.Weight.Name, ".weight"), Linear: l, Groups: groups, Usual: true}
}

// rowGroups names consecutive ranges of outputs.
func rowGroups(sizes ...rowGroup) []nn.RowGroup {
	var groups []nn.RowGroup
	from := 0
	for _, s := range sizes {
		groups = append(groups, nn.RowGroup{Name: s.name, From: from, To: from + s.rows})
		from += s.rows
	}
	return groups
}

type rowGroup struct {
	name string
	rows int
}
