package data

import (
	"sort"
)

// A chunk holds the documents of one block of rows, in the layout that Arrow's list columns have.
type chunk struct {
	tokens  []int32
	labels  []int32 // nil where every label is its token
	offsets []int32 // document i is tokens[offsets[i]:offsets[i+1]]
	rows    []int64 // source row of each document
	parts   []uint8 // 1 where a document goes on from the one before it; nil where none does
}

func (c *chunk) documents() int { return len(c.rows) }

// add appends a document.
func (c *chunk) add(tokens, labels []int32, row int64, part uint8) {
	c.tokens = append(c.tokens, tokens...)
	c.labels = append(c.labels, labels...)
	c.offsets = append(c.offsets, int32(len(c.tokens)))
	c.rows = append(c.rows, row)
	c.parts = append(c.parts, part)
}

// storedDocument is a document as the store has it: slices that nobody writes to.
type storedDocument struct {
	tokens, labels []int32
	row            int
	continues      bool
}

func (c *chunk) document(i int) storedDocument {
	lo, hi := c.offsets[i], c.offsets[i+1]
	d := storedDocument{tokens: c.tokens[lo:hi], labels: c.tokens[lo:hi], row: int(c.rows[i])}
	if c.labels != nil {
		d.labels = c.labels[lo:hi]
	}
	d.continues = c.parts != nil && c.parts[i] != 0
	return d
}

// store holds the documents of a data set, in memory or in a mapped file.
type store struct {
	chunks []*chunk
	firsts []int // index of each chunk's first document
	count  int
	close  func() error
}

func (s *store) append(c *chunk) {
	if c.documents() == 0 {
		return
	}
	s.chunks, s.firsts = append(s.chunks, c), append(s.firsts, s.count)
	s.count += c.documents()
}

func (s *store) document(i int) storedDocument {
	k := sort.SearchInts(s.firsts, i+1) - 1
	return s.chunks[k].document(i - s.firsts[k])
}

// length returns the tokens of document i.
func (s *store) length(i int) int { return len(s.document(i).tokens) }
