package data

import (
	"fmt"

	"mambatrain/internal/label"
)

// Batch is one micro-batch: documents laid end to end. Its tokens, labels, and starts are those of an autograd.Batch, which
// this package does not import so that preparing data does not link Gorgonia.
type Batch struct {
	Tokens []int
	Labels []int // parallel to Tokens; the loss shifts them by one. Negative ones are ignored
	Starts []int // first row of each document
	Rows   []int // source row of each document
	// Carry is nil unless carry_state is set. Otherwise, it gives for each document the index of the document in the
	// previous micro-batch that it continues, or −1 for a new one.
	Carry []int
}

// Documents returns the number of documents.
func (b *Batch) Documents() int { return len(b.Starts) }

// Document returns document i as a separate batch that shares the memory of b, without Carry.
func (b *Batch) Document(i int) Batch {
	from, to := b.Starts[i], len(b.Tokens)
	if i+1 < len(b.Starts) {
		to = b.Starts[i+1]
	}
	return Batch{Tokens: b.Tokens[from:to], Labels: b.Labels[from:to], Starts: []int{0}, Rows: b.Rows[i : i+1]}
}

// Counted returns the number of labels that enter the loss.
func (b *Batch) Counted() (n int) {
	for i := range b.Starts {
		n += label.Count(b.Document(i).Labels)
	}
	return n
}

// Loader makes the micro-batches of a dataset in an order that depends only on the data, its configuration, the batch
// size, and the seed. Documents are already tokenized, so a micro-batch costs only a copy. A Loader is safe for
// concurrent use.
type Loader struct {
	data  *Dataset
	plan  plan
	total int // micro-batches per epoch
}

// A plan decides which documents make up a micro-batch.
type plan interface {
	batches() int
	// batch appends the store indices of the documents in micro-batch i.
	batch(epoch, i int, documents []int) []int
}

// Loader returns a loader of micro-batches of batchSize documents or, with packing, of batchSize × max_length rows.
func (d *Dataset) Loader(batchSize int, seed uint64) (*Loader, error) {
	if batchSize < 1 {
		return nil, fmt.Errorf("data: loader: batch size must be at least 1, got %d", batchSize)
	}
	l := &Loader{data: d}
	switch {
	case d.config.CarryState:
		l.plan = newLanes(d, batchSize, seed)
	case d.config.Packing:
		l.plan = newBins(d, batchSize, seed)
	default:
		l.plan = newSequence(d, batchSize, seed)
	}
	l.total = l.plan.batches()
	return l, nil
}

// Total returns the number of micro-batches per epoch.
func (l *Loader) Total() int { return l.total }

// At returns micro-batch i of an epoch, both counted from 0. It is empty past the last one.
func (l *Loader) At(epoch, i int) Batch {
	if i < 0 || i >= l.total {
		return Batch{}
	}
	documents := l.plan.batch(epoch, i, nil)
	var b Batch
	rows := 0
	for _, k := range documents {
		rows += l.data.store.length(k)
	}
	b.Tokens, b.Labels = make([]int, 0, rows), make([]int, 0, rows)
	for _, k := range documents {
		d := l.data.store.document(k)
		b.Starts, b.Rows = append(b.Starts, len(b.Tokens)), append(b.Rows, d.Row)
		for j, id := range d.IDs {
			b.Tokens, b.Labels = append(b.Tokens, int(id)), append(b.Labels, int(d.Labels[j]))
		}
	}
	if lanes, ok := l.plan.(*lanes); ok {
		b.Carry = lanes.carry(epoch, i)
	}
	return b
}
