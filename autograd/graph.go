package autograd

import (
	"errors"
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Options describe a graph.
type Options struct {
	// Rows is the maximum number of rows in one run, summed over all documents.
	Rows int
	// Float64 selects the plain loops in double precision, for gradient checks. Parameters must then be float64.
	Float64 bool
	// Carry makes convolutions and scans keep their last state, so that a [Batch] may continue the one before it.
	Carry bool
	// Segments lets Step and Eval take batches with any number of rows. They run them in segments of at most Rows rows,
	// with the same result as for the whole batch. It implies Carry.
	Segments bool
	// SegmentStore stores the states between segments; nil keeps them in memory.
	SegmentStore SegmentStore
	// Device runs the graph on the process's device; see [kernel.UseDevice].
	Device bool
}

// Graph records a model. The first error sticks to it: later operations do nothing and Compile reports it.
type Graph struct {
	opts     Options
	x        *G.ExprGraph
	values   []*value
	records  []*record
	inputs   map[string]*value
	buffers  []*buffer
	segment  int // the checkpoint segment being recorded, 0 for none
	last     int // the last segment's number
	ids      uint32
	compiled bool
	starts   bool // documents start from states of the model
	slab     int  // elements that the planned buffers need
	run      run
	tmp32    []float32
	tmp64    []float64
	device   *deviceGraph // nil: the graph runs on the host
	err      error
}

// Var is a value in a graph. The zero Var means that an optional input is absent.
type Var struct{ v *value }

// value is what a Var refers to: an input of the graph, a use of a parameter, or the output of an op.
type value struct {
	g     *Graph
	node  *G.Node
	shape []int // at full capacity; nil for a scalar
	live  []int // the shape in this run
	buf   *buffer
	param *Param
	used  bool // the parameter is already the input of an op
	ints  []int
	by    *record // nil for inputs and parameters
	need  bool    // depends on a trainable parameter
	grad  gradient

	fetched []float32 // of a kept value, from the device
}

// NewGraph returns an empty graph.
func NewGraph(o Options) *Graph {
	o.Carry = o.Carry || o.Segments
	g := &Graph{opts: o, x: G.NewGraph(), inputs: map[string]*value{}}
	if o.Rows < 1 {
		g.fail(fmt.Errorf("autograd: graph: capacity must be at least one row, got %d", o.Rows))
		g.opts.Rows = 0
	}
	d, err := newDeviceGraph(o)
	if err != nil {
		g.fail(err)
	}
	g.device = d
	return g
}

// Err returns the first error that occurred while recording.
func (g *Graph) Err() error { return g.err }

func (g *Graph) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// Graph returns the graph to which v belongs.
func (v Var) Graph() *Graph { return v.v.g }

// Shape returns the dimensions at full capacity: (rows, width), a parameter's shape, or nil for a scalar.
func (v Var) Shape() []int { return v.v.shape }

// absent reports whether v is an absent input.
func (v Var) absent() bool { return v.v == nil }

func (g *Graph) dtype() tensor.Dtype {
	if g.opts.Float64 {
		return tensor.Float64
	}
	return tensor.Float32
}

// Param makes p an input of the graph.
func (g *Graph) Param(p *Param) Var {
	if p == nil {
		return Var{}
	}
	shape, d := p.Shape(), p.Value
	if d == nil { // packed only: ops reach the weight through the Param
		d = tensor.New(tensor.WithShape(1), tensor.Of(g.dtype()))
	}
	if dt := d.Dtype(); dt != g.dtype() && !(p.IsBF16() && !g.opts.Float64) {
		g.fail(fmt.Errorf("autograd: %s: value is %v, the graph computes in %v", p.Name, dt, g.dtype()))
		return Var{&value{g: g, shape: shape}}
	}
	return Var{g.input(&value{g: g, shape: shape, live: shape, param: p, need: p.Trainable()}, p.Name, d)}
}

// Tokens returns the token ids of the batch, one per row.
func (g *Graph) Tokens() Var { return g.intInput("tokens") }

// labels returns the label that each row predicts, already shifted by one.
func (g *Graph) labels() Var { return g.intInput(labelsInput) }

// labelsInput is the name of the labels input.
const labelsInput = "labels"

// First returns the first row of each row's document; it is negative if the document began in an earlier batch.
func (g *Graph) first() Var { return g.intInput("first") }

func (g *Graph) intInput(name string) Var {
	if v := g.inputs[name]; v != nil {
		return Var{v}
	}
	ints := make([]int, g.opts.Rows)
	v := g.input(&value{g: g, shape: []int{len(ints)}, live: []int{len(ints)}, ints: ints}, name, tensor.New(tensor.WithShape(len(ints)), tensor.WithBacking(ints)))
	g.inputs[name] = v
	return Var{v}
}

// Embeds returns the batch's embeddings, (rows, width), for models whose input is vectors instead of token ids.
func (g *Graph) Embeds(width int) Var {
	const name = "embeds"
	if v := g.inputs[name]; v != nil {
		if v.shape[1] != width {
			g.fail(fmt.Errorf("autograd: embeddings: the width is %d, but was %d before", width, v.shape[1]))
		}
		return Var{v}
	}
	if width < 1 {
		g.fail(fmt.Errorf("autograd: embeddings: the width must be at least 1, got %d", width))
		return Var{&value{g: g, shape: []int{g.opts.Rows, width}}}
	}
	shape := []int{g.opts.Rows, width}
	d := tensor.New(tensor.WithShape(shape...), tensor.Of(g.dtype()))
	v := g.input(&value{g: g, shape: shape, live: slices.Clone(shape), buf: g.fixed(d)}, name, d)
	g.inputs[name] = v
	return Var{v}
}

// input adds a Gorgonia input node. Its name contains a number because Gorgonia merges inputs of the same name, type,
// and shape.
func (g *Graph) input(v *value, name string, d *tensor.Dense) *value {
	g.ids++
	v.node = G.NewTensor(g.x, d.Dtype(), d.Dims(), G.WithShape(d.Shape()...), G.WithName(fmt.Sprintf("%s#%d", name, g.ids)), G.WithValue(d))
	g.values = append(g.values, v)
	return v
}

// Checkpoint records the ops that f records but keeps none of their intermediate results: backward recomputes them from
// the inputs. Calls must not be nested.
func (g *Graph) Checkpoint(f func() Var) Var {
	if g.segment != 0 {
		g.fail(errors.New("autograd: checkpoint: segments cannot be nested"))
		return f()
	}
	g.last++
	g.segment = g.last
	defer func() { g.segment = 0 }()
	return f()
}

// Apply records an operation, given in both precisions, on inputs of the same graph. A zero Var is an absent input.
func Apply(f32 Op[float32], f64 Op[float64], in ...Var) Var {
	g := graphOf(in)
	if g == nil {
		panic("autograd: " + f32.Name() + ": no input belongs to a graph")
	}
	r := &record{g: g, segment: g.segment, in: make([]*value, len(in))}
	if g.opts.Float64 {
		r.exec = &executor[float64]{op: f64, tmp: &g.tmp64}
	} else {
		r.exec = &executor[float32]{op: f32, tmp: &g.tmp32}
	}
	shapes := make([][]int, len(in))
	for i, v := range in {
		if v.absent() {
			continue
		}
		if v.v.g != g {
			g.fail(fmt.Errorf("autograd: %s: inputs come from two graphs", f32.Name()))
		}
		r.in[i], shapes[i] = v.v.use(), v.v.shape
	}
	r.shapes = shapes
	shape, err := f32.Shape(shapes)
	if err != nil {
		g.fail(fmt.Errorf("autograd: %s%s: %w", f32.Name(), paramName(r.in), err))
	}
	if g.err != nil {
		return Var{&value{g: g, shape: shape}}
	}
	return Var{g.record(r, shape)}
}

// use returns v as the input of another op. Each use of a parameter, such as a tied embedding, gets its own node that
// shares the value and the gradient: with a single node, Gorgonia would sum the gradients in place, in the persistent
// gradient.
func (v *value) use() *value {
	if v.param == nil {
		return v
	}
	if v.used {
		v = v.g.Param(v.param).v
	}
	v.used = true
	return v
}

// graphOf returns the graph of the first input that has one.
func graphOf(in []Var) *Graph {
	for _, v := range in {
		if !v.absent() {
			return v.v.g
		}
	}
	return nil
}

// paramName returns the name of the first parameter among the inputs. In an error it shows which of many identical
// layers failed.
func paramName(in []*value) string {
	for _, v := range in {
		if v != nil && v.param != nil {
			return " " + v.param.Name
		}
	}
	return ""
}

// record adds r's forward node and returns its result, a value of the given shape.
func (g *Graph) record(r *record, shape []int) *value {
	g.ids++
	r.id = g.ids
	v := &value{g: g, shape: shape, live: slices.Clone(shape), by: r, buf: g.buffer(shape)}
	for _, in := range r.in {
		v.need = v.need || in != nil && in.need
	}
	r.out = v
	if n := r.exec.stateSize(r.shapes); n > 0 {
		r.state = g.buffer([]int{n})
	}
	if n := r.exec.carrySize(r.shapes); n > 0 && g.opts.Carry {
		r.carry = g.newCarry(n)
	}
	g.records = append(g.records, r)
	g.forward(r)
	g.values = append(g.values, v)
	return v
}

// forward adds the Gorgonia node that runs r.
func (g *Graph) forward(r *record) {
	n := &node{g: g, name: r.exec.name(), shape: r.out.shape, dtype: g.dtype(), do: r.forward, diffWRT: func() []bool { return r.wrt }, symDiff: r.differentiate}
	n.uses(r.out.buf, r.state)
	for _, in := range r.in {
		if in != nil {
			n.in = append(n.in, in.node)
			n.uses(in.buf)
		}
	}
	r.out.node = g.apply(n)
}
