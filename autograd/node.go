package autograd

import (
	"encoding/binary"
	"fmt"
	"hash"
	"runtime/debug"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// node implements gorgonia.SDOp for every node of a graph: forward passes, backward passes, and takes differ only in
// their functions.
//
// The graph owns the buffers. Do returns one of them, never an input, because Gorgonia's own Add writes into its first
// operand.
type node struct {
	g     *Graph
	id    uint32
	name  string
	shape []int // nil for a scalar
	dtype tensor.Dtype
	in    []*G.Node
	bufs  []*buffer // the memory that do reads or writes
	pos   int       // its place on the tape

	adds      []*Param // parameters whose gradients do adds to
	completes []*Param // the subset of adds to which no later node adds

	do      func(in []G.Value) (G.Value, error)
	diffWRT func() []bool
	symDiff func(in G.Nodes, grad *G.Node) (G.Nodes, error)
}

var _ G.SDOp = (*node)(nil)

// uses records that do reads or writes these buffers.
func (n *node) uses(bs ...*buffer) {
	for _, b := range bs {
		if b != nil {
			n.bufs = append(n.bufs, b)
		}
	}
}

// apply adds n to the Gorgonia graph. The number makes each node's hash unique, because Gorgonia merges nodes with
// equal hashes.
func (g *Graph) apply(n *node) *G.Node {
	g.ids++
	n.id = g.ids
	out, err := G.ApplyOp(n, n.in...)
	if err != nil {
		g.fail(fmt.Errorf("autograd: %s: %w", n.name, err))
	}
	return out
}

// Type builds a new type on every call because Gorgonia returns it to a pool.
func (n *node) Type() hm.Type {
	ts := make([]hm.Type, 0, len(n.in)+1)
	for _, in := range n.in {
		ts = append(ts, in.Type())
	}
	if n.shape == nil {
		return hm.NewFnType(append(ts, n.dtype)...)
	}
	return hm.NewFnType(append(ts, G.TensorType{Dims: len(n.shape), Of: n.dtype})...)
}

// Do runs the node. Gorgonia calls it on a separate goroutine, where a panic would kill the process.
func (n *node) Do(in ...G.Value) (v G.Value, err error) {
	debug.SetPanicOnFault(true) // a weight's file may have been truncated; arrays on a device cannot be read at all
	defer func() {
		if p := recover(); p != nil {
			n.g.run.panicked = p
			err = fmt.Errorf("%s: %v", n.name, p)
		}
	}()
	if n.pos <= n.g.run.pos {
		return nil, fmt.Errorf("%s: runs at position %d after position %d, which violates the buffer plan", n.name, n.pos, n.g.run.pos)
	}
	n.g.run.pos = n.pos
	if n.g.run.ctx != nil {
		if err := n.g.run.ctx.Err(); err != nil {
			return nil, err
		}
	}
	if v, err = n.do(in); err == nil && n.g.run.ready != nil {
		n.ready()
	}
	return v, err
}

// ready reports the gradients that are complete now, or records them until the device has computed them.
func (n *node) ready() {
	run := &n.g.run
	if n.g.device != nil {
		run.onDevice.complete = append(run.onDevice.complete, n.completes...)
		return
	}
	for _, p := range n.completes {
		run.ready(p)
	}
}

func (n *node) InferShape(...G.DimSizer) (tensor.Shape, error) {
	if n.shape == nil {
		return tensor.ScalarShape(), nil
	}
	return tensor.Shape(n.shape).Clone(), nil
}

func (n *node) DiffWRT(inputs int) []bool {
	if n.diffWRT != nil {
		if wrt := n.diffWRT(); len(wrt) == inputs {
			return wrt
		}
	}
	return make([]bool, inputs) // an empty list would make Gorgonia treat the inputs as unreachable
}

func (n *node) SymDiff(in G.Nodes, _, grad *G.Node) (G.Nodes, error) { return n.symDiff(in, grad) }

func (n *node) Arity() int            { return len(n.in) }
func (n *node) String() string        { return n.name }
func (n *node) ReturnsPtr() bool      { return false }
func (n *node) CallsExtern() bool     { return false }
func (n *node) OverwritesInput() int  { return -1 }
func (n *node) Hashcode() uint32      { return n.id }
func (n *node) WriteHash(h hash.Hash) { binary.Write(h, binary.LittleEndian, n.id) }
