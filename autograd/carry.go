package autograd

import (
	"errors"
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
)

// carry is the state that an op passes from one run to the next.
type carry struct {
	in, out   *tensor.Dense
	dIn, dOut *tensor.Dense // their gradients; nil unless the graph runs in segments
	fetched   []float32     // out, from the device; nil on the host
}

// last returns the host memory with the state that the last run left.
func (c *carry) last() any {
	if c.fetched != nil {
		return c.fetched
	}
	return c.out.Data()
}

func (g *Graph) newCarry(n int) *carry {
	buf := func() *tensor.Dense { return tensor.New(tensor.WithShape(n), tensor.Of(g.dtype())) }
	c := &carry{in: buf(), out: buf()}
	if g.opts.Segments {
		c.dIn, c.dOut = buf(), buf()
	}
	return c
}

// startsFrom records that documents start from a state of the model, if start is present. Such a document runs alone,
// as if it continued: each op copies its start state to where the last run's state would be.
func (g *Graph) startsFrom(start Var) {
	if start.absent() {
		return
	}
	g.starts = true
	if !g.opts.Segments {
		g.fail(errors.New("autograd: start state: requires a graph with Segments"))
	}
}

// start copies input i to the state before this run, if the run begins a document.
func (c *Call[T]) start(i int) {
	if c.run.begins && !c.In[i].Absent() {
		n := len(c.CarryIn)
		kernel.CopyMat(kernel.Dense(c.CarryIn, 1, n), kernel.Dense(c.In[i].Data, 1, n))
	}
}

// startGrad adds the gradient of the state before this run to the gradient of input i.
func (c *Call[T]) startGrad(i int) {
	if d := c.DIn[i]; c.run.begins && !d.Absent() {
		kernel.AddMat(d.Mat(), kernel.Dense(c.DCarryIn, d.Shape[0], d.Shape[1]))
	}
}

// swapCarries makes the final state of the last run the initial state of the next one.
func (g *Graph) swapCarries() {
	for _, c := range g.carries() {
		c.in, c.out = c.out, c.in
	}
	if d := g.device; d != nil {
		d.carriedIn, d.carriedOut = d.carriedOut, d.carriedIn
	}
}

// Carried returns a copy of the state after the last row of the last run: the last inputs of every convolution and the
// hidden state of every scan, in the order in which they were recorded. It is empty unless the graph carries state.
func (p *Program) Carried() []float32 {
	if d := p.g.device; d != nil {
		return slices.Clone(d.carried)
	}
	var all []float32
	for _, c := range p.g.carries() {
		all = append(all, c.out.Float32s()...)
	}
	return all
}

// SetCarried restores a state that [Program.Carried] returned. The next batch that continues a document starts from it.
func (p *Program) SetCarried(state []float32) error {
	n := 0
	for _, c := range p.g.carries() {
		n += c.out.Shape().TotalSize()
	}
	if n != len(state) {
		return fmt.Errorf("autograd: carried state: got %d numbers, want %d", len(state), n)
	}
	if d := p.g.device; d != nil {
		defer p.g.lock()()
		copy(d.carried, state)
		p.g.sendCarried()
		return nil
	}
	for _, c := range p.g.carries() {
		state = state[copy(c.out.Float32s(), state):]
	}
	return nil
}

// sendCarried copies the host's states to the device.
func (g *Graph) sendCarried() {
	if d := g.device; d != nil && len(d.carried) > 0 {
		d.Upload(d.carriedOut, d.carried)
	}
}

// recurrent returns the nodes of the ops that carry state.
func (g *Graph) recurrent() G.Nodes {
	var all G.Nodes
	for _, r := range g.records {
		if r.carry != nil {
			all = append(all, r.out.node)
		}
	}
	return all
}

func (g *Graph) carries() []*carry {
	var all []*carry
	for _, r := range g.records {
		if r.carry != nil {
			all = append(all, r.carry)
		}
	}
	return all
}
