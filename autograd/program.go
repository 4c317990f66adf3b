package autograd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	G "gorgonia.org/gorgonia"
)

// Program is a compiled graph. It is not safe for concurrent use. Two programs that share parameters may run Eval
// concurrently.
type Program struct {
	g    *Graph
	loss *value
	keep []*value
	step G.VM // forward and backward, nil without trainable parameters
	eval G.VM // forward

	states G.VM // forward up to the last recurrent op, for a graph that runs in segments
}

// Step is the input of one forward and backward pass.
type Step struct {
	Batch
	// Scale multiplies the summed loss in the gradient. With 1 / (labels counted in the whole optimizer step), the
	// gradients are those of the mean loss.
	Scale float64
	// Seed determines everything random in this run, such as dropout.
	Seed uint64
	// FirstRow is the offset of this batch in a larger one that runs in parts. With the same Seed for all parts,
	// dropout and noise are the same as for the whole batch.
	FirstRow int
	// Ready, if not nil, is called once for each trainable parameter of the program as soon as its gradient is
	// complete, on the goroutine that runs the ops. The run no longer touches that gradient. If the run fails, calls
	// may be missing.
	Ready func(*Param)
	// Progress, if not nil, is called after each pass over a segment with the fraction of the work that is done.
	Progress func(share float64)
}

// Loss is the result of a run.
type Loss struct {
	// Sum is the total loss of all counted labels in nats.
	Sum float64
	// Tokens is the number of counted labels.
	Tokens int
	// Correct is how many of them were the most probable token. Only Eval counts them.
	Correct int
	// Rows is, for each row, the loss of the label that it predicts, or 0 if there is none. The next run overwrites it.
	Rows []float64
}

// run is the state of the current run, which ops access through their Call.
type run struct {
	ctx      context.Context
	rows     int
	pos      int // position on the tape
	scale    float64
	seed     uint64
	first    int  // index of row 0 of this batch in the whole batch
	before   int  // rows of the first document in earlier segments
	after    int  // rows of the last document in later segments
	begins   bool // the document starts from a state of the model
	training bool
	ready    func(*Param)
	loss     Loss
	onDevice deviceRun
	panicked any // value of an op's panic
}

// building serializes differentiation and compilation, because Gorgonia's are not safe for concurrent use.
var building sync.Mutex

// Compile returns a program that differentiates loss, a scalar. Without a loss it only runs forward. The values in keep
// can be read after Eval. A graph can be compiled only once.
func (g *Graph) Compile(loss Var, keep ...Var) (*Program, error) {
	building.Lock()
	defer building.Unlock()
	p, grads, err := g.prepare(loss, keep)
	if err != nil {
		return nil, err
	}
	if err := g.bind(); err != nil {
		return nil, err
	}
	if p.eval, err = g.machine(p.outputs()); err != nil {
		return nil, err
	}
	if len(grads) == 0 {
		return p, nil
	}
	if p.step, err = g.machine(append(grads, loss.v.node)); err != nil || !g.opts.Segments {
		return p, err
	}
	p.states, err = g.machine(g.recurrent())
	return p, err
}

// Estimate returns the bytes that a program for loss needs in addition to the parameters, without allocating them. They
// include the scratch memory of kernels on a device, but not that of the CPU's. The graph cannot be compiled afterwards.
func (g *Graph) Estimate(loss Var) (int64, error) {
	building.Lock()
	defer building.Unlock()
	if _, _, err := g.prepare(loss, nil); err != nil {
		return 0, err
	}
	return g.bytes(), nil
}

// prepare differentiates the graph and plans its memory. It returns the nodes that complete the gradients.
func (g *Graph) prepare(loss Var, keep []Var) (*Program, G.Nodes, error) {
	p := &Program{g: g, loss: loss.v}
	for _, v := range keep {
		if !v.absent() {
			p.keep = append(p.keep, v.v)
		}
	}
	switch {
	case g.err != nil:
		return nil, nil, g.err
	case g.compiled:
		return nil, nil, errors.New("autograd: compile: the graph has already been compiled")
	case !loss.absent() && loss.v.shape != nil && loss.v.need:
		return nil, nil, fmt.Errorf("autograd: compile: the loss is %v, want a scalar", loss.v.shape)
	case slices.ContainsFunc(append(keep[:len(keep):len(keep)], loss), func(v Var) bool { return !v.absent() && v.v.g != g }):
		return nil, nil, errors.New("autograd: compile: the loss or a value to keep belongs to another graph")
	case len(p.outputs()) == 0:
		return nil, nil, errors.New("autograd: compile: no loss and no values to keep")
	}
	g.compiled = true
	grads, err := p.differentiate()
	if err != nil {
		return nil, nil, err
	}
	for _, v := range p.keep {
		if v.buf != nil {
			v.buf.last = int(^uint(0) >> 1)
		}
	}
	return p, grads, g.plan()
}

func (p *Program) outputs() G.Nodes {
	var out G.Nodes
	if p.loss != nil {
		out = append(out, p.loss.node)
	}
	for _, v := range p.keep {
		out = append(out, v.node)
	}
	return out
}

// machine compiles the part of the graph that the outputs depend on.
func (g *Graph) machine(outputs G.Nodes) (G.VM, error) {
	var inputs G.Nodes
	for _, n := range g.x.ExactSubgraphRoots(outputs...).AllNodes() {
		if n.Op() == nil {
			inputs = append(inputs, n)
		}
	}
	prog, loc, err := G.CompileFunction(g.x, inputs, outputs)
	if err != nil {
		return nil, fmt.Errorf("autograd: compile: %w", err)
	}
	return G.NewTapeMachine(g.x, G.WithPrecompiled(prog, loc)), nil
}

// differentiate makes Gorgonia add the backward pass and returns the nodes that complete the parameters' gradients.
func (p *Program) differentiate() (G.Nodes, error) {
	if p.loss == nil || !p.loss.need {
		return nil, nil
	}
	reached := p.activate()
	p.g.assignOwners()
	var wrt G.Nodes
	for _, v := range p.g.values {
		if v.param != nil && v.need && reached[v] {
			wrt = append(wrt, v.node)
		}
	}
	grads, err := G.Grad(p.loss.node, wrt...)
	if err == nil {
		err = p.g.err
	}
	if err != nil {
		return nil, fmt.Errorf("autograd: differentiate: %w", err)
	}
	return grads, nil
}

// activate marks the records that the loss depends on and that depend on something trainable. It returns every value
// that the loss depends on.
func (p *Program) activate() map[*value]bool {
	reached := map[*value]bool{p.loss: true}
	for _, r := range slices.Backward(p.g.records) {
		if !reached[r.out] {
			continue
		}
		r.active = r.out.need
		for _, v := range r.in {
			reached[v] = true
		}
	}
	return reached
}

// assignOwners chooses, for every value that needs a gradient, the user that passes the gradient on; see gradient.
func (g *Graph) assignOwners() {
	for _, r := range g.records {
		if !r.active {
			continue
		}
		owns := false
		for _, v := range r.in {
			if v == nil {
				continue
			}
			first := v.need && (v.param != nil || v.grad.owner == nil)
			if first {
				v.grad.owner = r
			}
			r.wrt = append(r.wrt, first)
			owns = owns || first
		}
		if owns {
			continue
		}
		// All of its inputs have another owner. Gorgonia must see this op differentiate something, or it leaves the op
		// out.
		k := 0
		for _, v := range r.in {
			if v == nil {
				continue
			}
			if v.need {
				r.wrt[k] = true
				break
			}
			k++
		}
	}
}

// Step runs forward and backward and adds to the gradients of the trainable parameters. A graph with Segments accepts
// batches with any number of rows. When ctx is done, the run stops and leaves the gradients incomplete.
func (p *Program) Step(ctx context.Context, s Step) (Loss, error) {
	if p.step == nil {
		return Loss{}, errors.New("autograd: step: the program has no loss or no trainable parameters")
	}
	parts, err := p.cut(s.Batch)
	if err != nil {
		return Loss{}, err
	}
	defer p.g.lock()()
	if len(parts) > 1 {
		return p.stepSegments(ctx, s, parts)
	}
	p.g.clearStateGrads()
	p.g.run = run{ctx: ctx, scale: s.Scale, seed: s.Seed, first: s.FirstRow, training: true, ready: s.Ready, loss: p.g.run.loss}
	return p.run(p.step, parts[0])
}

// Eval runs forward only. Without labels the loss is zero.
func (p *Program) Eval(ctx context.Context, b Batch) (Loss, error) {
	parts, err := p.cut(b)
	if err != nil {
		return Loss{}, err
	}
	defer p.g.lock()()
	if len(parts) > 1 {
		return p.evalSegments(ctx, parts)
	}
	p.g.run = run{ctx: ctx, loss: p.g.run.loss}
	return p.run(p.eval, parts[0])
}

func (p *Program) run(vm G.VM, b Batch) (Loss, error) {
	if p.g.device != nil {
		if err := p.send(); err != nil {
			return Loss{}, err
		}
	}
	if err := p.fill(b); err != nil {
		return Loss{}, err
	}
	vm.Reset() // otherwise Gorgonia silently does nothing
	err := vm.RunAll()
	if _, fault := p.g.run.panicked.(interface{ Addr() uintptr }); fault && p.g.device == nil {
		panic(p.g.run.panicked) // the caller may know which mapped file is at this address
	}
	if err != nil {
		err = fmt.Errorf("autograd: run: %w", cause(err))
	}
	if p.g.device != nil {
		err = p.fetch(err)
	}
	if err != nil {
		return Loss{}, err
	}
	return p.g.run.loss, nil
}

// cause removes the layers that Gorgonia wraps around an op's error.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if c, ok := err.(interface{ Cause() error }); ok && next == nil {
			next = c.Cause()
		}
		if c, ok := err.(interface{ Err() error }); ok && next == nil { // from the tape machine
			next = c.Err()
		}
		if next == nil || next == err {
			return err
		}
		if _, ours := err.(interface{ Unwrap() []error }); ours {
			return err
		}
		err = next
	}
}

// fill writes the batch to the graph's inputs and sets the live rows of every value.
func (p *Program) fill(b Batch) error {
	g, rows := p.g, b.rows(p.width())
	g.run.rows, g.run.before, g.run.after, g.run.begins = rows, b.before, b.after, b.begins
	for _, v := range g.values {
		if v.param == nil && v.shape != nil {
			v.live[0] = rows
		}
	}
	rowLosses := g.run.loss.Rows
	if cap(rowLosses) < rows {
		rowLosses = make([]float64, g.opts.Rows)
	}
	clear(rowLosses[:rows])
	g.run.loss = Loss{Rows: rowLosses[:rows]}
	for name, v := range g.inputs {
		switch name {
		case "tokens":
			if len(b.Tokens) != rows {
				return fmt.Errorf("autograd: batch: the graph reads token ids, but the batch has %d for %d rows", len(b.Tokens), rows)
			}
			copy(v.ints, b.Tokens)
		case "labels":
			b.targets(v.ints[:rows])
		case "first":
			b.firsts(v.ints[:rows])
		case "embeds":
			g.setFloats(v.buf, b.Embeds)
		}
	}
	if b.Continues {
		g.swapCarries()
	}
	return nil
}

// width returns the width of the batch's embeddings, or 0 for token ids.
func (p *Program) width() int {
	if v := p.g.inputs["embeds"]; v != nil {
		return v.shape[1]
	}
	return 0
}

// setFloats copies src to the start of b.
func (g *Graph) setFloats(b *buffer, src []float32) {
	switch {
	case g.device != nil:
		g.device.Upload(b.dense.Float32s()[:len(src)], src)
		return
	case b.dense.Dtype().Size() == 4:
		copy(b.dense.Float32s(), src)
		return
	}
	for i, x := range src {
		b.dense.Float64s()[i] = float64(x)
	}
}

// Float32s returns the live rows of a kept value after Eval. The next run overwrites them.
func (p *Program) Float32s(v Var) []float32 {
	if p.g.device != nil {
		return v.v.fetched
	}
	return v.v.buf.dense.Float32s()[:size(v.v.live)]
}

// Float64s is Float32s for a graph in double precision.
func (p *Program) Float64s(v Var) []float64 { return v.v.buf.dense.Float64s()[:size(v.v.live)] }

// Params returns the parameters in the graph, each once, in the order of first use.
func (p *Program) Params() []*Param {
	var out []*Param
	seen := map[*Param]bool{}
	for _, v := range p.g.values {
		if v.param != nil && !seen[v.param] {
			seen[v.param] = true
			out = append(out, v.param)
		}
	}
	return out
}

// Bytes returns the memory of activations, their gradients, the state for the backward pass, and the scratch memory of
// kernels on a device, without parameters.
func (p *Program) Bytes() int64 { return p.g.bytes() }

func (g *Graph) bytes() int64 {
	n := g.slab + g.scratch()
	for _, c := range g.carries() {
		n += 2 * c.in.Shape().TotalSize()
		if c.dIn != nil || g.device != nil {
			n += 2 * c.in.Shape().TotalSize()
		}
	}
	if g.device != nil {
		n += g.kernelScratch() + g.deviceInputs()
	}
	return int64(n) * int64(g.dtype().Size())
}
