package trainer

import (
	"context"
	"fmt"

	ag "mambatrain/autograd"
	"mambatrain/internal/splitmix"
)

// BatchSource returns the micro-batches of a dataset by number. A micro-batch depends only on its number, so a run can
// resume anywhere without replaying earlier ones.
type BatchSource interface {
	// Batches returns the number of micro-batches in an epoch, counted from 0. Epochs may differ if packing depends on
	// the order.
	Batches(epoch int) (int, error)
	// Batch returns a micro-batch: documents end to end. The caller may keep it but must not modify it.
	Batch(ctx context.Context, epoch, index int) (MicroBatch, error)
}

// MicroBatch is a set of documents that contribute to one step's gradient. They are computed together or in parts.
type MicroBatch struct {
	ag.Batch
	// Carry is nil unless state is carried over. Otherwise it has, for each document, the index of the document in the
	// previous micro-batch that it continues, or −1 for a new document.
	Carry []int
}

// EqualEpochs marks a [BatchSource] whose epochs all have the same number of micro-batches, so the trainer asks for the
// size of only one.
type EqualEpochs interface{ EqualEpochs() }

// part is a group of documents that are computed at once, along with the seed of their micro-batch, which does not
// depend on how the micro-batch is split.
type part struct {
	ag.Batch
	seed  uint64
	first int // row of the micro-batch that is the part's row 0
	micro int // its micro-batch, within the epoch
	count int // labels that count in the loss
	lane  int // the document's index in its micro-batch if state is carried over; else −1
	after int // the document in the previous micro-batch that it continues
}

// splitBatch splits a micro-batch into parts of complete documents with at most rows rows each, in order. If state is
// carried over, each document is a separate part.
func splitBatch(b MicroBatch, rows int) ([]part, error) {
	var parts []part
	add := func(from, to int) {
		p := part{Batch: subBatch(b.Batch, from, to), lane: -1}
		if b.Carry != nil {
			p.lane, p.after, p.Continues = from, b.Carry[from], b.Carry[from] >= 0
		}
		p.count = p.Counted()
		parts = append(parts, p)
	}
	from := 0 // first document of the part
	for d := range b.Starts {
		if n := b.End(d) - b.Starts[d]; n > rows {
			return nil, fmt.Errorf("trainer: batch: document %d has %d tokens, but max_tokens allows only %d at once", d, n, rows)
		}
		if d > from && (b.Carry != nil || b.End(d)-b.Starts[from] > rows) {
			add(from, d)
			from = d
		}
	}
	if len(b.Starts) > 0 {
		add(from, len(b.Starts))
	}
	return parts, nil
}

// subBatch returns the documents [from, to) of b as a batch.
func subBatch(b ag.Batch, from, to int) ag.Batch {
	lo, hi := b.Starts[from], b.End(to-1)
	s := ag.Batch{Tokens: b.Tokens[lo:hi]}
	if b.Labels != nil {
		s.Labels = b.Labels[lo:hi]
	}
	for _, start := range b.Starts[from:to] {
		s.Starts = append(s.Starts, start-lo)
	}
	return s
}

// batchSeed returns the seed of a micro-batch for the given seed of the run.
func batchSeed(seed uint64, epoch, index int) uint64 {
	for _, x := range []int{epoch, index} {
		seed = splitmix.Mix(seed*splitmix.Gamma + uint64(x) + splitmix.Gamma)
	}
	return seed
}
