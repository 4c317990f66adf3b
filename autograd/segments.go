package autograd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
)

// Segments. A batch with more rows than the graph is split into segments, and only one of them is in memory at a time.
// A forward pass keeps only the states of the recurrent ops between segments. Then each segment, from the last to the
// first, runs forward again and backward, given the state before it and the gradient of the state after it. With θ the
// parameters, x(s) the rows of segment s, h(s) the states after it, and L(s) its loss,
//
//	L(s), h(s) = f(θ, x(s), h(s−1))
//	η(s−1) = ∂L(s)/∂h(s−1) + (∂h(s)/∂h(s−1))ᵀ·η(s),  η = 0 after the last
//	∂L/∂θ = Σ_s ∂L(s)/∂θ + (∂h(s)/∂θ)ᵀ·η(s)
//
// This is the exact gradient of the whole batch, without truncation. It costs one more forward pass without the head.

// SegmentStore stores the states between the segments of a batch. An *os.File is one, for example.
type SegmentStore interface {
	io.ReaderAt
	io.WriterAt
}

// memoryStore is a SegmentStore in memory. Reads must use the same offsets and sizes as writes.
type memoryStore map[int64][]byte

func (m memoryStore) WriteAt(p []byte, at int64) (int, error) {
	m[at] = append(m[at][:0], p...)
	return len(p), nil
}

func (m memoryStore) ReadAt(p []byte, at int64) (int, error) { return copy(p, m[at]), nil }

// cut splits a batch into segments, in order. A batch that needs no split is returned whole.
func (p *Program) cut(b Batch) ([]Batch, error) {
	o, width := p.g.opts, p.width()
	rows, limit := b.rows(width), o.Rows
	if o.Segments {
		o.Rows = max(rows, limit)
	}
	if err := b.check(o, width); err != nil {
		return nil, err
	}
	var list []Batch
	for lo, hi := 0, 0; lo < rows; lo = hi {
		hi = min(lo+limit, rows)
		if p.g.starts { // one segment never spans two documents
			d, _ := slices.BinarySearch(b.Starts, lo+1)
			hi = min(hi, b.end(d-1, rows))
		}
		s := b.slice(lo, hi, width)
		s.begins = p.g.starts && !s.Continues
		list = append(list, s)
	}
	return list, nil
}

// slice returns rows [lo, hi) as a batch that continues the previous one if it begins inside a document.
func (b Batch) slice(lo, hi, width int) Batch {
	s, rows := Batch{Starts: []int{0}, row: b.row + lo, begins: b.begins}, b.rows(width)
	if b.Tokens != nil {
		s.Tokens = b.Tokens[lo:hi]
	}
	if b.Embeds != nil {
		s.Embeds = b.Embeds[lo*width : hi*width]
	}
	next, _ := slices.BinarySearch(b.Starts, lo+1) // the first document that starts after row lo
	first, last := next-1, next-1
	for ; last+1 < len(b.Starts) && b.Starts[last+1] < hi; last++ {
		s.Starts = append(s.Starts, b.Starts[last+1]-lo)
	}
	s.Continues = b.Starts[first] < lo || first == 0 && b.Continues
	s.before, s.after = lo-b.Starts[first], b.end(last, rows)-hi
	if first == 0 {
		s.before += b.before
	}
	if last == len(b.Starts)-1 {
		s.after += b.after
	}
	if b.Labels == nil {
		return s
	}
	s.Labels = b.Labels[lo:hi]
	switch {
	case hi == rows:
		s.Next, s.HasNext = b.Next, b.HasNext
	case s.after > 0: // the document continues
		s.Next, s.HasNext = b.Labels[hi], true
	}
	return s
}

// stepSegments is Step for a batch in several segments.
func (p *Program) stepSegments(ctx context.Context, s Step, parts []Batch) (Loss, error) {
	w := segmentWork{Program: p, Step: s, parts: parts, store: p.g.opts.SegmentStore}
	if w.store == nil {
		w.store = memoryStore{}
	}
	w.total = len(parts) - 1 + len(parts)*backwardCost
	if err := w.forward(ctx); err != nil {
		return Loss{}, err
	}
	return w.backward(ctx)
}

// backwardCost is the cost of a forward and backward pass, relative to a forward pass alone.
const backwardCost = 3

// segmentWork is one step over a batch in segments.
type segmentWork struct {
	*Program
	Step
	parts       []Batch
	store       SegmentStore
	done, total int // see Step.Progress
	buf         []byte
}

// forward saves the state before each segment that continues a document.
func (w *segmentWork) forward(ctx context.Context) error {
	if w.parts[0].Continues {
		if err := w.save(0); err != nil {
			return err
		}
	}
	for i, b := range w.parts[:len(w.parts)-1] {
		if w.parts[i+1].Continues {
			last := b.Starts[len(b.Starts)-1] // only this document's state is carried on
			b = b.slice(last, b.rows(w.width()), w.width())
			w.g.run = w.newRun(ctx, b)
			if _, err := w.run(w.states, b); err != nil {
				return err
			}
			if err := w.save(i + 1); err != nil {
				return err
			}
		}
		w.advance(1)
	}
	return nil
}

// backward runs the segments from last to first. It leaves the program with the state after the last segment.
func (w *segmentWork) backward(ctx context.Context) (Loss, error) {
	whole := w.lossOf(w.parts)
	w.g.clearStateGrads() // nothing depends on the state after the last segment
	for i, b := range slices.Backward(w.parts) {
		if b.Continues {
			if err := w.load(i); err != nil {
				return Loss{}, err
			}
		}
		w.g.run = w.newRun(ctx, b)
		if i == 0 {
			w.g.run.ready = w.Ready
		}
		part, err := w.run(w.step, b)
		if err != nil {
			return Loss{}, err
		}
		if i == len(w.parts)-1 {
			if err := w.save(len(w.parts)); err != nil {
				return Loss{}, err
			}
		}
		w.g.passStateGrads(b.Continues)
		whole.add(part, b.row-w.parts[0].row)
		w.advance(backwardCost)
	}
	return whole, w.load(len(w.parts))
}

// clearStateGrads sets the gradients of all states to zero.
func (g *Graph) clearStateGrads() {
	for _, c := range g.carries() {
		if c.dIn != nil {
			clearDense(c.dIn)
			clearDense(c.dOut)
		}
	}
}

// passStateGrads turns the gradients of the states before the last run into those of the states after the next one, if
// the last run continued a document. Otherwise it clears them.
func (g *Graph) passStateGrads(continues bool) {
	if !continues {
		g.clearStateGrads()
		return
	}
	for _, c := range g.carries() {
		c.dIn, c.dOut = c.dOut, c.dIn
		clearDense(c.dIn)
	}
}

// clearDense sets d to zero, on the host or on a device.
func clearDense(d *tensor.Dense) {
	if d.Dtype() == tensor.Float32 {
		kernel.Clear(d.Float32s())
	} else {
		d.Zero()
	}
}

// newRun returns a training run on b.
func (w *segmentWork) newRun(ctx context.Context, b Batch) run {
	return run{ctx: ctx, scale: w.Scale, seed: w.Seed, first: w.FirstRow + b.row, training: true, loss: w.g.run.loss}
}

func (w *segmentWork) advance(cost int) {
	w.done += cost
	if w.Progress != nil {
		w.Progress(float64(w.done) / float64(w.total))
	}
}

// save stores the final state of the last run as number i.
func (w *segmentWork) save(i int) error {
	at := int64(i) * w.g.StateBytes()
	for _, c := range w.g.carries() {
		var err error
		if w.buf, err = binary.Append(w.buf[:0], binary.LittleEndian, c.last()); err == nil {
			_, err = w.store.WriteAt(w.buf, at)
		}
		if err != nil {
			return fmt.Errorf("autograd: states between segments: %w", err)
		}
		at += int64(len(w.buf))
	}
	return nil
}

// load restores state i as if the last run had left it.
func (w *segmentWork) load(i int) error {
	at := int64(i) * w.g.StateBytes()
	for _, c := range w.g.carries() {
		buf := slices.Grow(w.buf[:0], binary.Size(c.out.Data()))[:binary.Size(c.out.Data())]
		n, err := w.store.ReadAt(buf, at)
		if n == len(buf) {
			_, err = binary.Decode(buf, binary.LittleEndian, c.last())
		}
		if err != nil {
			return fmt.Errorf("autograd: states between segments: %w", err)
		}
		w.buf, at = buf, at+int64(n)
	}
	w.g.sendCarried()
	return nil
}

// StateBytes returns the total size of the states carried from one segment to the next, over all recurrent ops.
func (g *Graph) StateBytes() (n int64) {
	for _, c := range g.carries() {
		n += int64(binary.Size(c.out.Data()))
	}
	return n
}

// evalSegments is Eval for a batch in several segments.
func (p *Program) evalSegments(ctx context.Context, parts []Batch) (Loss, error) {
	if len(p.keep) > 0 {
		return Loss{}, errors.New("autograd: eval: values can be kept only if the batch fits into the graph")
	}
	whole := p.lossOf(parts)
	for _, b := range parts {
		p.g.run = run{ctx: ctx, loss: p.g.run.loss}
		part, err := p.run(p.eval, b)
		if err != nil {
			return Loss{}, err
		}
		whole.add(part, b.row-parts[0].row)
	}
	return whole, nil
}

// lossOf returns the loss of consecutive segments before any of them is added.
func (p *Program) lossOf(parts []Batch) Loss {
	last := parts[len(parts)-1]
	return Loss{Rows: make([]float64, last.row+last.rows(p.width())-parts[0].row)}
}

// add adds the loss of a segment whose first row is row at of the batch.
func (l *Loss) add(part Loss, at int) {
	l.Sum += part.Sum
	l.Tokens += part.Tokens
	l.Correct += part.Correct
	copy(l.Rows[at:], part.Rows)
}
