package data

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
	"mambatrain/internal/label"
)

// Stats counts what happened to the rows of a source.
type Stats struct {
	Rows      int // read
	Documents int // kept; with truncation: split, the parts
	Empty     int // rows that are null or empty, skipped
	NoLabels  int // rows (or parts) without a counted label, dropped
	ShareGPT  int // conversations with from and value, read as role and content
	Truncated int // rows cut or split at max_length
	CutTokens int // tokens lost to truncation
	Tokens    int // input tokens kept
	Labels    int // labels that enter the loss
	Longest   int // tokens of the longest document kept
	MaxToken  int // largest token id or label, which must be below the model's vocabulary size; −1 without documents
}

func (s *Stats) add(o Stats) {
	s.Rows += o.Rows
	s.Documents += o.Documents
	s.Empty += o.Empty
	s.NoLabels += o.NoLabels
	s.ShareGPT += o.ShareGPT
	s.Truncated += o.Truncated
	s.CutTokens += o.CutTokens
	s.Tokens += o.Tokens
	s.Labels += o.Labels
	s.Longest = max(s.Longest, o.Longest)
	s.MaxToken = max(s.MaxToken, o.MaxToken)
}

// pipeline reads the files of one source and produces its documents.
type pipeline struct {
	files  []*source.File
	tok    *tokenizer.Tokenizer
	config *Config
	rows   int  // rows to read; 0 = all
	all    bool // keep every row, even one that is empty or not counted, so that row n of the output is row n of the source
	chats  bool // the chat column is the first of chatColumns that a file has
	joints *joints
	done   []fileRows // rows read per file
}

// fileRows is the number of rows read from a file.
type fileRows struct {
	path string
	rows int
}

// outcome is the result of one block.
type outcome struct {
	tokens *source.Tokens
	stats  Stats
	err    error
}

// job is a block to be processed by a worker.
type job struct {
	block    *source.Block
	first    int // index of its first row in the source, over all files
	renderer renderer
	done     chan outcome
}

// run renders and tokenizes all rows on all cores and calls sink in source order.
func (p *pipeline) run(ctx context.Context, sink func(*source.Tokens, Stats) error) error {
	workers, outer := runtime.GOMAXPROCS(0), ctx
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan job)
	ordered := make(chan job, 2*workers) // bounds the number of blocks in memory
	group.Go(func() error {
		defer close(jobs)
		defer close(ordered)
		return p.read(ctx, func(j job) error {
			select {
			case ordered <- j:
			case <-ctx.Done():
				j.block.Release()
				return ctx.Err()
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				j.block.Release()
				return ctx.Err()
			}
			return nil
		})
	})
	wait := p.startWorkers(outer, workers, jobs)
	group.Go(func() error {
		for j := range ordered {
			var out outcome
			select {
			case out = <-j.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if out.err != nil {
				return out.err
			}
			if err := sink(out.tokens, out.stats); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	wait()
	return err
}

// startWorkers starts the workers and returns a function that waits for them, at most until ctx is canceled. A row
// cannot be interrupted, and may take minutes if it is long and its tokenizer has a slow pattern.
func (p *pipeline) startWorkers(ctx context.Context, n int, jobs <-chan job) (wait func()) {
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			var s scratch
			for j := range jobs {
				j.done <- p.work(ctx, j, &s)
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		group.Wait()
		close(finished)
	}()
	return func() {
		select {
		case <-finished:
		case <-ctx.Done():
		}
	}
}

// read passes the blocks of all files to hand.
func (p *pipeline) read(ctx context.Context, hand func(job) error) error {
	first := 0
	for _, f := range p.files {
		n, err := p.readFile(ctx, f, first, hand)
		if err != nil {
			return err
		}
		p.done = append(p.done, fileRows{f.Path, n})
		if first += n; p.rows > 0 && first >= p.rows {
			return nil
		}
	}
	return nil
}

// readFile passes the blocks of a file to hand and returns the number of rows.
func (p *pipeline) readFile(ctx context.Context, f *source.File, first int, hand func(job) error) (rows int, err error) {
	r, err := f.Open(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	have, err := p.columns(ctx, r, max(0, p.rows-first))
	if err != nil {
		return 0, err
	}
	if len(have) == 0 {
		return 0, nil // a file without rows, in a format where the rows name the columns
	}
	render, err := newRenderer(f.Path, have, p.tok, p.config, p.joints)
	if err != nil {
		return 0, err
	}
	if r, ok := render.(*chatRows); ok && p.chats {
		r.findColumn(have)
	}
	wanted, err := render.needs(f.Path, have)
	if err != nil {
		return 0, err
	}
	r.Project(wanted)
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		at := first + rows
		if p.rows > 0 {
			b.Rows = min(b.Rows, p.rows-at)
		}
		rows += b.Rows
		if err := hand(job{b, at, render, make(chan outcome, 1)}); err != nil {
			return rows, err
		}
		if p.rows > 0 && first+rows >= p.rows {
			return rows, nil
		}
	}
}

// columns lists the columns of a file: those at its beginning, plus those that appear only in later rows if they are read.
func (p *pipeline) columns(ctx context.Context, r source.Reader, rows int) ([]string, error) {
	have := r.Columns()
	names, all := p.config.columns(have)
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(have, name) })
	if len(have) == 0 || len(names) == 0 && !all {
		return have, nil
	}
	if all {
		names = nil
	}
	late, err := r.Late(ctx, names, rows)
	return slices.Concat(have, late), err
}

// scratch is memory that a worker reuses for each block.
type scratch struct {
	row    rowBuffer
	tokens source.Tokens
}

// work renders the rows of a block.
func (p *pipeline) work(ctx context.Context, j job, s *scratch) (out outcome) {
	b := j.block
	defer b.Release()
	s.tokens.Reset()
	out = outcome{tokens: &s.tokens, stats: Stats{Rows: b.Rows, MaxToken: -1}}
	err := b.Read(func() error {
		for i := range b.Rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.row(&out, &s.row, j, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return outcome{err: err}
	}
	if !j.renderer.masks() {
		out.tokens.Labels = nil
	}
	out.tokens = out.tokens.Clone()
	if p.all && j.renderer.masks() && out.tokens.Labels == nil {
		out.tokens.Labels = []int32{} // all rows are empty, but every table must have the column
	}
	return out
}

// row renders row i of a block.
func (p *pipeline) row(out *outcome, d *rowBuffer, j job, i int) error {
	d.row, d.tokens, d.labels, d.shareGPT = j.first+i, d.tokens[:0], d.labels[:0], false
	ok, err := j.renderer.row(j.block, i, d)
	if err != nil {
		return fmt.Errorf("data: %s: %w", j.block.At(i), err)
	}
	if !ok {
		out.stats.Empty++
	}
	if d.shareGPT {
		out.stats.ShareGPT++
	}
	switch {
	case p.all:
		out.tokens.Append(d.tokens, d.labels, j.first+i, 0)
		out.stats.count(d.tokens, d.tokens)
	case ok:
		return p.keep(out, d, j, i)
	}
	return nil
}

// keep adds a rendered row, truncated to max_length.
func (p *pipeline) keep(out *outcome, d *rowBuffer, j job, i int) error {
	limit := p.config.MaxLength
	if limit == 0 || len(d.tokens) <= limit {
		out.add(d.tokens, d.labels, j.first+i, 0)
		return nil
	}
	out.stats.Truncated++
	switch p.config.Truncation {
	case "error":
		return fmt.Errorf("data: %s: %s, data.max_length is %d", j.block.At(i), format.Counted(len(d.tokens), "token"), limit)
	case "split":
		p.split(out, d, j.first+i)
	default:
		out.stats.CutTokens += len(d.tokens) - limit
		out.add(d.tokens[:limit], d.labels[:min(limit, len(d.labels))], j.first+i, 0)
	}
	return nil
}

// split adds the parts of a document. With carry_state, each part continues from the state of the previous one, so
// either all of them are dropped or none.
func (p *pipeline) split(out *outcome, d *rowBuffer, row int) {
	if p.config.CarryState && len(d.labels) > 0 && label.Count(d.labels) == 0 {
		out.stats.NoLabels++
		return
	}
	part := uint8(0)
	for lo := 0; lo < len(d.tokens); lo += p.config.MaxLength {
		hi := min(lo+p.config.MaxLength, len(d.tokens))
		labels := d.labels
		if len(labels) > 0 {
			labels = labels[lo:hi]
		}
		if p.config.CarryState {
			out.append(d.tokens[lo:hi], labels, row, part)
			part = 1
			continue
		}
		out.add(d.tokens[lo:hi], labels, row, 0)
	}
}

// add keeps a document if at least one of its labels counts.
func (o *outcome) add(tokens, labels []int32, row int, part uint8) {
	if len(labels) == 0 && len(tokens) < 2 || len(labels) > 0 && label.Count(labels) == 0 {
		o.stats.NoLabels++
		return
	}
	o.append(tokens, labels, row, part)
}

// append keeps a document. If labels is empty, the tokens are the labels.
func (o *outcome) append(tokens, labels []int32, row int, part uint8) {
	o.tokens.Append(tokens, labels, row, part)
	if len(labels) == 0 {
		labels = tokens
	}
	o.stats.count(tokens, labels)
}

// count adds a document.
func (s *Stats) count(tokens, labels []int32) {
	s.Documents++
	s.Tokens += len(tokens)
	s.Labels += label.Count(labels)
	s.Longest = max(s.Longest, len(tokens))
	for _, ids := range [][]int32{tokens, labels} {
		for _, id := range ids {
			s.MaxToken = max(s.MaxToken, int(id))
		}
	}
}
