package autograd

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
)

// record is one application of an op: its inputs, its output, and the state for its backward pass.
type record struct {
	g       *Graph
	id      uint32
	exec    runner
	in      []*value // nil for an absent optional input
	shapes  [][]int
	out     *value
	state   *buffer
	carry   *carry
	segment int

	active bool    // the loss depends on it, and it depends on a trainable parameter
	wrt    []bool  // Gorgonia's DiffWRT, for the inputs that are present
	source *record // has the saved values for backward: r itself, or its replay
}

// runner runs a record's op in the graph's arithmetic type.
type runner interface {
	name() string
	stateSize(in [][]int) int
	carrySize(in [][]int) int
	scratchSize(in [][]int) int
	deviceSizes(in [][]int) kernel.DeviceSizes
	work(in [][]int, need []bool) Work
	saves(need []bool) []bool
	overwrites(i int) bool
	forward(r *record, in []G.Value) error
	backward(b *backward, in []G.Value) error
}

// gradient is the memory in which the gradient of a value is summed.
//
// If a value had several users, Gorgonia would add their gradients pairwise, with a pass over memory for each. So one
// user, the first recorded, owns the gradient: backward reaches it last. The others tell Gorgonia that they do not
// differentiate with respect to the value, add to the owner's memory anyway, and are ordered before the owner by an
// edge.
type gradient struct {
	owner *record
	buf   *buffer
	adds  []*G.Node // backward nodes of the other users
}

// needs reports which inputs depend on a trainable parameter.
func (r *record) needs() []bool {
	need := make([]bool, len(r.in))
	for i, v := range r.in {
		need[i] = v != nil && v.need
	}
	return need
}

func (r *record) forward(in []G.Value) (G.Value, error) {
	if err := r.exec.forward(r, in); err != nil {
		return nil, fmt.Errorf("%s%s: %w", r.exec.name(), paramName(r.in), err)
	}
	return r.out.buf.value(), nil
}

// backward is the node that runs an op's backward pass once for all of its gradients.
type backward struct {
	*record
	source *record // has the saved values
	saved  []int   // for each input, its index among the node's inputs, or -1 if not read
	din    []*buffer
	fresh  []bool // din has not been written yet
	sets   []bool // din has not been written yet and the op can overwrite it
}

// differentiate is r's SymDiff: it adds one backward node, and a take node for every gradient that Gorgonia passes on.
func (r *record) differentiate(in G.Nodes, grad *G.Node) (G.Nodes, error) {
	g := r.g
	b := &backward{record: r, source: g.replayed(r), saved: make([]int, len(r.in)), din: make([]*buffer, len(r.in)), fresh: make([]bool, len(r.in)), sets: make([]bool, len(r.in))}
	n := &node{g: g, name: "∂" + r.exec.name(), dtype: g.dtype(), in: []*G.Node{grad}}
	n.uses(b.source.state, r.out.grad.buf)
	b.save(n)
	if b.source != r && b.source.state != nil && b.source.state != r.state {
		n.in = append(n.in, b.source.out.node) // otherwise nothing would request a replay whose only purpose is its state
	}
	for i, v := range r.in {
		if v != nil && v.need {
			b.want(n, i, v)
			b.sets[i] = b.fresh[i] && r.exec.overwrites(i) && r.count(v) == 1
		}
	}
	n.do = func(in []G.Value) (G.Value, error) {
		if err := r.exec.backward(b, in); err != nil {
			return nil, fmt.Errorf("%s%s: %w", r.exec.name(), paramName(r.in), err)
		}
		return done, nil
	}
	n.dtype = tensor.Float32 // type of the token that means "has run"
	token := g.apply(n)
	if g.err != nil {
		return nil, g.err
	}
	return b.takes(token)
}

var done = G.NewF32(0)

// save adds the inputs that backward reads to its node's inputs.
func (b *backward) save(n *node) {
	reads := b.exec.saves(b.needs())
	for i, v := range b.source.in {
		b.saved[i] = -1
		if v != nil && reads[i] {
			b.saved[i] = len(n.in)
			n.in = append(n.in, v.node)
			n.uses(v.buf)
		}
	}
}

// count returns how many of r's inputs are v. If there are several, their gradients must be added.
func (r *record) count(v *value) int {
	n := 0
	for _, in := range r.in {
		if in == v {
			n++
		}
	}
	return n
}

// want finds the memory for the gradient of input i.
func (b *backward) want(n *node, i int, v *value) {
	switch gr := &v.grad; {
	case v.param != nil:
		b.din[i] = b.g.fixed(v.param.Grad)
		n.adds = append(n.adds, v.param)
	case gr.owner == b.record || b.chained(v):
		if gr.buf == nil {
			gr.buf, b.fresh[i] = b.g.buffer(v.shape), true
		}
		b.din[i] = gr.buf
		if gr.owner == b.record {
			n.in = append(n.in, gr.adds...)
		}
	default: // Gorgonia adds this one
		b.din[i], b.fresh[i] = b.g.buffer(v.shape), true
	}
	n.uses(b.din[i])
}

// chained reports whether the gradient of v goes into its owner's memory without passing through Gorgonia.
func (r *record) chained(v *value) bool {
	if v.grad.owner == r {
		return false
	}
	k := 0
	for _, in := range r.in {
		if in == nil {
			continue
		}
		if in == v {
			return !r.wrt[k]
		}
		k++
	}
	return false
}

// takes adds a node for each gradient that Gorgonia passes on, and records the token for each one that it does not.
func (b *backward) takes(token *G.Node) (G.Nodes, error) {
	var out G.Nodes
	for i, v := range b.in {
		if v == nil {
			continue
		}
		k := len(out)
		out = append(out, nil)
		switch {
		case b.din[i] == nil:
		case !b.wrt[k]:
			if v.grad.owner != b.record {
				v.grad.adds = append(v.grad.adds, token)
			}
		default:
			buf := b.din[i]
			t := &node{g: b.g, name: fmt.Sprintf("∂%s.%d", b.exec.name(), i), shape: v.shape, dtype: b.g.dtype(), in: []*G.Node{token}}
			t.do = func([]G.Value) (G.Value, error) { return buf.value(), nil }
			t.uses(buf)
			out[k] = b.g.apply(t)
		}
	}
	return out, b.g.err
}
