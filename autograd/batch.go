package autograd

import (
	"fmt"

	"mambatrain/internal/label"
)

// NoLabel marks a row whose label is excluded from the loss. Any negative label has the same effect.
const NoLabel = label.Ignored

// Batch is the input of one run: documents concatenated along the rows.
type Batch struct {
	// Tokens are the token ids of all documents, one per row.
	Tokens []int
	// Embeds replaces Tokens in a graph whose input is vectors: (rows, width).
	Embeds []float32
	// Labels is indexed like Tokens: Labels[t] is the label of row t itself, which row t−1 predicts. Negative labels
	// are ignored. Nil means no loss.
	Labels []int
	// Starts is the first row of each document, in ascending order; Starts[0] is 0.
	Starts []int
	// Continues means that document 0 continues from the state at the end of the last run, which has already predicted
	// its first label. The graph must carry state.
	Continues bool
	// Next is the label after the last row, for a document that continues in the next batch. It is ignored unless
	// HasNext is set.
	Next    int
	HasNext bool

	row           int  // in a segment, the index of its first row in the whole batch
	before, after int  // in a segment, how many rows of the first and of the last document are in other segments
	begins        bool // the only document, document 0, starts from a state of the model
}

// End returns the row after document d in a batch of Tokens.
func (b Batch) End(d int) int { return b.end(d, len(b.Tokens)) }

// end returns the row after document d in a batch with the given number of rows.
func (b Batch) end(d, rows int) int {
	if d+1 < len(b.Starts) {
		return b.Starts[d+1]
	}
	return rows
}

// Counted returns the number of labels that enter the loss: those predicted by a row of the same document.
func (b Batch) Counted() int {
	n := 0
	for _, t := range b.targets(make([]int, len(b.Labels))) {
		if label.Counts(t) {
			n++
		}
	}
	return n
}

// targets fills dst with the label that each row predicts, or NoLabel if there is none.
func (b Batch) targets(dst []int) []int {
	d := 0
	for t := range dst {
		for d+1 < len(b.Starts) && b.Starts[d+1] <= t {
			d++
		}
		end := len(b.Labels)
		if d+1 < len(b.Starts) {
			end = min(end, b.Starts[d+1])
		}
		dst[t] = label.Target(b.Labels[:end], t)
	}
	if b.Labels != nil && b.HasNext && label.Counts(b.Next) && len(dst) > 0 {
		dst[len(dst)-1] = b.Next
	}
	return dst
}

// firsts fills dst with the first row of each row's document, or with continued if the document has a state before it.
func (b Batch) firsts(dst []int) {
	d := 0
	for t := range dst {
		for d+1 < len(b.Starts) && b.Starts[d+1] <= t {
			d++
		}
		dst[t] = b.Starts[d]
		if d == 0 && (b.Continues || b.begins) {
			dst[t] = continued
		}
	}
}

// continued replaces the first row of a document that has a state before it. It is far enough back for every tap of a
// convolution.
const continued = -1 << 30

// check returns an error if the batch is invalid for a graph with these options.
func (b Batch) check(o Options, width int) error {
	rows := b.rows(width)
	switch {
	case rows == 0:
		return fmt.Errorf("autograd: batch: no rows")
	case width > 0 && len(b.Embeds) != rows*width:
		return fmt.Errorf("autograd: batch: the graph reads embeddings (rows, %d), but the batch has %d numbers for %d rows", width, len(b.Embeds), rows)
	case rows > o.Rows:
		return fmt.Errorf("autograd: batch: %d rows exceed the capacity of %d", rows, o.Rows)
	case b.Labels != nil && len(b.Labels) != rows:
		return fmt.Errorf("autograd: batch: %d labels for %d rows", len(b.Labels), rows)
	case len(b.Starts) == 0 || b.Starts[0] != 0:
		return fmt.Errorf("autograd: batch: the first document must start at row 0, got starts %v", b.Starts)
	case b.Continues && !o.Carry:
		return fmt.Errorf("autograd: batch: continues a document, but the graph carries no state")
	}
	for i := 1; i < len(b.Starts); i++ {
		if b.Starts[i] <= b.Starts[i-1] || b.Starts[i] >= rows {
			return fmt.Errorf("autograd: batch: document %d starts at row %d, want a row after %d and before %d", i, b.Starts[i], b.Starts[i-1], rows)
		}
	}
	return nil
}

func (b Batch) rows(width int) int {
	if b.Embeds != nil && width > 0 {
		return len(b.Embeds) / width
	}
	return len(b.Tokens)
}
