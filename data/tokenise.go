package data

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sync/errgroup"

	"mambatrain/internal/label"
)

// Stats counts what became of the rows of a source.
type Stats struct {
	Rows      int // read
	Documents int // kept; with truncation: split, parts
	Empty     int // rows that are null or empty: skipped
	NoLabels  int // rows (or parts) without a label that counts: dropped
	Truncated int // rows cut at max_length, or split there
	CutTokens int // tokens lost by cutting
	Tokens    int // input tokens kept
	Labels    int // labels that enter the loss
	Longest   int // tokens of the longest document kept
	MaxToken  int // largest token id, −1 without documents: must be below the model's vocabulary
}

func (s *Stats) add(o Stats) {
	s.Rows += o.Rows
	s.Documents += o.Documents
	s.Empty += o.Empty
	s.NoLabels += o.NoLabels
	s.Truncated += o.Truncated
	s.CutTokens += o.CutTokens
	s.Tokens += o.Tokens
	s.Labels += o.Labels
	s.Longest = max(s.Longest, o.Longest)
	s.MaxToken = max(s.MaxToken, o.MaxToken)
}

// tokeniser reads the files of one source and gives out their documents.
type tokeniser struct {
	files   []*sourceFile
	tok     *Tokenizer
	options *Options
	memory  memory.Allocator
	rows    int  // rows to read; 0 = all
	all     bool // keep every row, empty or uncounted ones too, so that row n of the output is row n of the source
}

// tokenised is what became of one block.
type tokenised struct {
	chunk *chunk
	stats Stats
	err   error
}

// job is a block on its way through a worker.
type job struct {
	block    *block
	renderer renderer
	done     chan tokenised
}

// run renders and tokenises all rows on all cores and calls sink in the order of the source.
func (t *tokeniser) run(ctx context.Context, sink func(*chunk, Stats) error) error {
	workers := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan job)
	ordered := make(chan job, 2*workers) // bounds the blocks in memory
	group.Go(func() error {
		defer close(jobs)
		defer close(ordered)
		return t.read(ctx, func(j job) error {
			select {
			case ordered <- j:
			case <-ctx.Done():
				j.block.release()
				return ctx.Err()
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				j.block.release()
				return ctx.Err()
			}
			return nil
		})
	})
	for range workers {
		group.Go(func() error {
			var s scratch
			for j := range jobs {
				j.done <- t.work(j, &s)
			}
			return nil
		})
	}
	group.Go(func() error {
		for j := range ordered {
			var out tokenised
			select {
			case out = <-j.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if out.err != nil {
				return out.err
			}
			if err := sink(out.chunk, out.stats); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// read hands out the blocks of all files.
func (t *tokeniser) read(ctx context.Context, hand func(job) error) error {
	first := 0
	for _, f := range t.files {
		n, err := t.readFile(ctx, f, first, hand)
		if err != nil {
			return err
		}
		if first += n; t.rows > 0 && first >= t.rows {
			return nil
		}
	}
	return nil
}

// readFile returns how many rows it handed out.
func (t *tokeniser) readFile(ctx context.Context, f *sourceFile, first int, hand func(job) error) (rows int, err error) {
	r, err := f.open(t.memory)
	if err != nil {
		return 0, err
	}
	defer r.close()
	have := r.columns()
	if len(have) == 0 {
		return 0, nil // a file without rows in a format whose rows name the columns
	}
	render, err := newRenderer(f.path, have, t.tok, t.options)
	if err != nil {
		return 0, err
	}
	wanted, err := render.needs(f.path, have)
	if err != nil {
		return 0, err
	}
	r.project(wanted)
	for {
		b, err := r.next(ctx)
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		b.first = first + rows
		if t.rows > 0 {
			b.rows = min(b.rows, t.rows-b.first)
		}
		rows += b.rows
		if err := hand(job{b, render, make(chan tokenised, 1)}); err != nil {
			return rows, err
		}
		if t.rows > 0 && first+rows >= t.rows {
			return rows, nil
		}
	}
}

// scratch is what a worker uses again for each block.
type scratch struct {
	document document
	chunk    chunk
}

// work renders the rows of a block.
func (t *tokeniser) work(j job, s *scratch) (out tokenised) {
	b := j.block
	defer b.release()
	defer b.recovered(&out.err)
	if b.decode != nil {
		if err := b.decode(b); err != nil {
			return tokenised{err: err}
		}
	}
	out.chunk = s.chunk.reset()
	out.stats = Stats{Rows: b.rows, MaxToken: -1}
	d := &s.document
	for i := range b.rows {
		d.tokens, d.labels = d.tokens[:0], d.labels[:0]
		ok, err := j.renderer.row(b, i, d)
		if err != nil {
			return tokenised{err: fmt.Errorf("data: %s: %w", b.at(i), err)}
		}
		if !ok {
			out.stats.Empty++
		}
		switch {
		case t.all:
			out.chunk.add(d.tokens, d.labels, int64(b.first+i), 0)
			out.stats.keep(d.tokens, d.tokens)
		case ok:
			if err := t.keep(&out, d, b, i); err != nil {
				return tokenised{err: err}
			}
		}
	}
	if !j.renderer.masks() {
		out.chunk.labels = nil
	}
	out.chunk = out.chunk.clone()
	return out
}

// keep adds a rendered row, cut to max_length as the options say.
func (t *tokeniser) keep(out *tokenised, d *document, b *block, i int) error {
	limit := t.options.MaxLength
	if limit == 0 || len(d.tokens) <= limit {
		out.add(d.tokens, d.labels, b.first+i, 0)
		return nil
	}
	out.stats.Truncated++
	switch t.options.Truncation {
	case "error":
		return fmt.Errorf("data: %s: %d tokens, data.max_length is %d", b.at(i), len(d.tokens), limit)
	case "split":
		t.split(out, d, b.first+i)
	default:
		out.stats.CutTokens += len(d.tokens) - limit
		out.add(d.tokens[:limit], d.labels[:min(limit, len(d.labels))], b.first+i, 0)
	}
	return nil
}

// split adds the parts of a document. Where each goes on from the state of the one before, none may be left out.
func (t *tokeniser) split(out *tokenised, d *document, row int) {
	part := uint8(0)
	for lo := 0; lo < len(d.tokens); lo += t.options.MaxLength {
		hi := min(lo+t.options.MaxLength, len(d.tokens))
		labels := d.labels
		if len(labels) > 0 {
			labels = labels[lo:hi]
		}
		if t.options.CarryState {
			out.force(d.tokens[lo:hi], labels, row, part)
			part = 1
			continue
		}
		out.add(d.tokens[lo:hi], labels, row, 0)
	}
}

// add keeps a document unless none of its labels counts. Labels may be empty: they are the tokens then.
func (o *tokenised) add(tokens, labels []int32, row int, part uint8) {
	if len(labels) == 0 && len(tokens) < 2 || len(labels) > 0 && label.Count(labels) == 0 {
		o.stats.NoLabels++
		return
	}
	o.force(tokens, labels, row, part)
}

func (o *tokenised) force(tokens, labels []int32, row int, part uint8) {
	o.chunk.add(tokens, labels, int64(row), part)
	if len(labels) == 0 {
		labels = tokens
	}
	o.stats.keep(tokens, labels)
}

func (s *Stats) keep(tokens, labels []int32) {
	s.Documents++
	s.Tokens += len(tokens)
	s.Labels += label.Count(labels)
	s.Longest = max(s.Longest, len(tokens))
	for _, id := range tokens {
		s.MaxToken = max(s.MaxToken, int(id))
	}
}

// reset empties a chunk and keeps its room.
func (c *chunk) reset() *chunk {
	*c = chunk{c.tokens[:0], c.labels[:0], append(c.offsets[:0], 0), c.rows[:0], c.parts[:0]}
	return c
}

// clone returns a copy without spare room and without columns that say nothing.
func (c *chunk) clone() *chunk {
	out := &chunk{tokens: slices.Clone(c.tokens), offsets: slices.Clone(c.offsets), rows: slices.Clone(c.rows)}
	if len(c.labels) > 0 {
		out.labels = slices.Clone(c.labels)
	}
	if slices.Contains(c.parts, 1) {
		out.parts = slices.Clone(c.parts)
	}
	return out
}
