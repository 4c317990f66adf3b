package mamba

import (
	"context"
	"fmt"

	"mambatrain/autograd/kernel"
)

// defaultChunk is the number of rows that a [Decoder] computes at once: enough to keep the matrix kernels busy, few
// enough to keep the activations small.
const defaultChunk = 512

// Decoder runs a model forward without a graph. It accepts any number of new tokens for each sequence of a [State]
// and processes them in chunks of a fixed number of rows, so memory does not grow with the length of a prompt. A
// Decoder must not be used by several goroutines at once, but several decoders may share a model. After the model's
// parameters change, create a new Decoder.
type Decoder struct {
	m     *Model
	chunk int
	b     buffers
	pass  Pass
}

// buffers contains the activations of one chunk outside the mixers.
type buffers struct {
	x, norm      kernel.Mat[float32] // (chunk, m)
	last, logits kernel.Mat[float32] // of the rows that need logits
	continued    []int               // the first row of documents that began before the convolution's window
}

// NewDecoder returns a decoder for m that computes up to chunk rows at once, or [defaultChunk] if chunk is 0.
func (m *Model) NewDecoder(chunk int) *Decoder {
	if chunk <= 0 {
		chunk = defaultChunk
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.Slots() {
		if a := s.LowRank(); a != nil {
			a.Invalidate()
		}
		if w := s.Weight(); !w.Trainable() {
			w.Packed() // pack now, so that concurrent decoders only read it
		}
	}
	return &Decoder{m: m, chunk: chunk}
}

// Feed implements [Feeder].
func (d *Decoder) Feed(ctx context.Context, s *State, tokens [][]int) error {
	if err := s.enqueue(d.m, tokens); err != nil {
		return err
	}
	return d.run(ctx, s, nil)
}

// Next is like Feed, but returns the logits for the next token of each sequence: (sequences, v), valid until the next
// call of a method of d. Every sequence must have at least one token to feed.
func (d *Decoder) Next(ctx context.Context, s *State, tokens [][]int) (kernel.Mat[float32], error) {
	if err := s.enqueue(d.m, tokens); err != nil {
		return kernel.Mat[float32]{}, err
	}
	for i := range s.Fed {
		if s.Fed[i] == len(s.Tokens[i]) {
			return kernel.Mat[float32]{}, fmt.Errorf("mamba: sequence %d: no token to predict from", i)
		}
	}
	n := s.Sequences()
	d.b.last = reuse(d.b.last, n, d.m.Config.HiddenSize)
	err := d.run(ctx, s, func(x kernel.Mat[float32], spans []span) {
		for _, p := range spans {
			copy(d.b.last.Row(p.sequence), x.Row(p.to-1))
		}
	})
	if err != nil {
		return kernel.Mat[float32]{}, err
	}
	return d.head(d.b.last), nil
}

// enqueue appends new tokens to the pending ones of a state of m.
func (s *State) enqueue(m *Model, tokens [][]int) error {
	if err := s.fits(m); err != nil {
		return err
	}
	if len(tokens) != s.Sequences() {
		return fmt.Errorf("mamba: got tokens for %d sequences, but the state has %d", len(tokens), s.Sequences())
	}
	if err := checkIDs(tokens, m.Config.VocabSize); err != nil {
		return err
	}
	waiting := make([][]int, len(tokens))
	for i := range waiting {
		waiting[i] = s.Tokens[i][s.Fed[i]:]
	}
	if err := checkIDs(waiting, m.Config.VocabSize); err != nil {
		return err
	}
	for i, ids := range tokens {
		s.Tokens[i] = append(s.Tokens[i], ids...)
	}
	return nil
}

// run feeds all pending tokens chunk by chunk and passes the residual stream after the last block to use. After an
// error, the state reflects the completed chunks.
func (d *Decoder) run(ctx context.Context, s *State, use func(x kernel.Mat[float32], spans []span)) error {
	var ids []int
	var spans []span
	flush := func() error {
		if len(ids) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		d.reserve(len(ids))
		x := d.b.x.Slice(0, len(ids), 0, d.b.x.Cols)
		d.m.Embeddings.Apply(x, ids)
		d.blocks(s, spans, d.b.continued[:len(ids)], x, nil)
		if use != nil {
			use(x, spans)
		}
		for _, p := range spans {
			s.Fed[p.sequence] += p.to - p.from
		}
		ids, spans = ids[:0], spans[:0]
		return nil
	}
	for i := range s.Tokens {
		for waiting := s.Tokens[i][s.Fed[i]:]; len(waiting) > 0; {
			n := min(len(waiting), d.chunk-len(ids))
			spans = append(spans, span{i, len(ids), len(ids) + n})
			ids, waiting = append(ids, waiting[:n]...), waiting[n:]
			if len(ids) == d.chunk {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// reserve grows the buffers to hold the given number of rows.
func (d *Decoder) reserve(rows int) {
	b, width := &d.b, d.m.Config.HiddenSize
	if rows <= b.x.Rows {
		return
	}
	for _, m := range []*kernel.Mat[float32]{&b.x, &b.norm} {
		*m = kernel.Dense(kernel.Make[float32](rows*width), rows, width)
	}
	b.continued = make([]int, rows)
	for t := range b.continued {
		b.continued[t] = -maxKernel
	}
}

// reuse returns a rows × cols matrix, in m's memory if it is large enough.
func reuse(m kernel.Mat[float32], rows, cols int) kernel.Mat[float32] {
	if len(m.Data) >= rows*cols {
		return kernel.Dense(m.Data[:rows*cols], rows, cols)
	}
	return kernel.Dense(make([]float32, rows*cols), rows, cols)
}

// head applies the last norm and the head to rows x of the residual stream.
func (d *Decoder) head(x kernel.Mat[float32]) kernel.Mat[float32] {
	norm := kernel.Dense(make([]float32, x.Rows*x.Cols), x.Rows, x.Cols)
	d.m.NormF.Apply(norm, x)
	d.b.logits = reuse(d.b.logits, x.Rows, d.m.Config.VocabSize)
	d.m.Head.Apply(d.b.logits, norm)
	return d.b.logits
}

// blocks runs all blocks on the rows of x, in place. Each span starts from its sequence's state and updates it. first
// is, for each row, the start of its document relative to the span's first row. after, if not nil, is called after
// each block.
func (d *Decoder) blocks(s *State, spans []span, first []int, x kernel.Mat[float32], after func(layer int)) {
	norm, p := d.b.norm.Slice(0, x.Rows, 0, x.Cols), &d.pass
	p.sequences, p.spans, p.first = s.Sequences(), spans, first
	for l, b := range d.m.Layers {
		b.Norm.Apply(norm, x)
		p.begin(norm, x, s.Conv[l], s.SSM[l])
		b.Mixer.Apply(p)
		if after != nil {
			after(l)
		}
	}
}
