package autograd

import (
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
)

// buffer is the memory of one value, gradient, or state.
type buffer struct {
	shape []int
	dense *tensor.Dense // set when the plan is bound
	fixed bool          // the memory belongs to a parameter or an input and is not planned
	// first and last are the first and the last position on the tape at which the contents are used.
	first, last int
	offset      int // in the slab, in elements
}

func (g *Graph) buffer(shape []int) *buffer {
	b := &buffer{shape: shape, first: int(^uint(0) >> 1), last: -1}
	g.buffers = append(g.buffers, b)
	return b
}

// fixed wraps memory that is not part of the plan.
func (g *Graph) fixed(d *tensor.Dense) *buffer {
	return &buffer{shape: d.Shape(), dense: d, fixed: true}
}

func (b *buffer) size() int { return size(b.shape) }

// value returns what Gorgonia sees: the tensor, or a number for a scalar.
func (b *buffer) value() G.Value {
	if b.shape != nil {
		return b.dense
	}
	if b.dense.Dtype() == tensor.Float64 {
		return G.NewF64(b.dense.Float64s()[0])
	}
	return G.NewF32(b.dense.Float32s()[0])
}

// plan places every buffer in one slab so that buffers with overlapping lifetimes do not overlap. The tape machine runs
// nodes in the order in which they were created, which is the order of their ids; node.Do checks this.
func (g *Graph) plan() error {
	nodes := g.x.AllNodes()
	seen := map[uint32]*G.Node{}
	for _, n := range nodes {
		if o := seen[n.Hashcode()]; o != nil && o != n {
			return fmt.Errorf("autograd: graph: nodes %v and %v have the same hash and would be merged", o, n)
		}
		seen[n.Hashcode()] = n
		if o, ok := n.Op().(*node); ok {
			o.pos = int(n.ID()) + 1
			for _, b := range o.bufs {
				b.first, b.last = min(b.first, o.pos), max(b.last, o.pos)
			}
		}
	}
	complete(nodes)
	g.extendSums(nodes)
	g.slab = place(g.planned())
	return nil
}

// complete finds, for each parameter, the node after which its gradient is complete.
func complete(nodes G.Nodes) {
	seen := map[*Param]bool{}
	for _, n := range slices.Backward(nodes) {
		o, ours := n.Op().(*node)
		if !ours {
			continue
		}
		for _, p := range o.adds {
			if !seen[p] {
				seen[p] = true
				o.completes = append(o.completes, p)
			}
		}
	}
}

// planned returns the buffers that need a place in the slab: those used by some node.
func (g *Graph) planned() []*buffer {
	return slices.DeleteFunc(slices.Clone(g.buffers), func(b *buffer) bool { return b.last < 0 })
}

// scratch returns the largest scratch size of any op.
func (g *Graph) scratch() int {
	n := 0
	for _, r := range g.records {
		n = max(n, r.exec.scratchSize(r.shapes))
	}
	return n
}

// extendSums extends the lifetimes of gradients that Gorgonia adds. Its Add works in place on the first operand, so
// such a buffer lives as long as any value that Gorgonia's own nodes derive from it.
func (g *Graph) extendSums(nodes G.Nodes) {
	last := map[int64]int{}
	for _, n := range slices.Backward(nodes) { // users before their inputs
		o, ours := n.Op().(*node)
		end := int(n.ID()) + 1
		if !ours {
			end = max(end, last[n.ID()])
		}
		for it := g.x.From(n.ID()); it.Next(); {
			id := it.Node().ID()
			last[id] = max(last[id], end)
		}
		if ours && len(o.bufs) == 1 {
			o.bufs[0].last = max(o.bufs[0].last, last[n.ID()])
		}
	}
}

// lines is the alignment of buffers in elements: 64 bytes of float32.
const lines = 16

// stagger is the gap between buffers, in elements; see kernel.Make.
const stagger = kernel.Stagger / 4

// place assigns each buffer the lowest offset that is free during its lifetime, largest buffer first, and returns the
// size of the slab.
func place(bs []*buffer) int {
	slices.SortStableFunc(bs, func(a, b *buffer) int { return b.size() - a.size() })
	end := 0
	var placed []*buffer // sorted by offset
	for _, b := range bs {
		at := 0
		for _, p := range placed {
			if p.first > b.last || b.first > p.last {
				continue
			}
			if at+b.size() <= p.offset {
				break
			}
			at = max(at, (p.offset+p.size()+lines-1)/lines*lines+stagger)
		}
		b.offset = at
		i, _ := slices.BinarySearchFunc(placed, at, func(p *buffer, at int) int { return p.offset - at })
		placed = slices.Insert(placed, i, b)
		end = max(end, at+b.size())
	}
	return end
}

// bind allocates the slab and assigns its parts to the buffers.
func (g *Graph) bind() error {
	switch {
	case g.device != nil:
		return g.bindDevice()
	case g.opts.Float64:
		bindSlab(g.planned(), kernel.Make[float64](g.slab))
		g.tmp64 = make([]float64, g.scratch())
	default:
		bindSlab(g.planned(), kernel.Make[float32](g.slab))
		g.tmp32 = kernel.Make[float32](g.scratch())
	}
	return nil
}

func bindSlab[T kernel.Float](bs []*buffer, slab []T) {
	for _, b := range bs {
		part := slab[b.offset : b.offset+b.size() : b.offset+b.size()]
		shape := b.shape
		if shape == nil {
			shape = []int{1}
		}
		b.dense = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(part))
	}
}
