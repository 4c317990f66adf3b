package data

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/contenthash"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
)

// Dataset is a list of tokenized documents. It is read-only and safe for concurrent use until Close.
type Dataset struct {
	config      Config
	store       *store
	users       *atomic.Int32 // datasets that share the store
	portions    []portion
	stats       Stats
	fingerprint string
}

// portion is the documents of one Input.
type portion struct {
	weight float64
	first  int // documents first … first+count−1 of the store, …
	count  int
	picked []int32 // … or these, after a split
	files  []fileRows
}

func (s *portion) len() int {
	if s.picked != nil {
		return len(s.picked)
	}
	return s.count
}

func (s *portion) document(i int) int {
	if s.picked != nil {
		return int(s.picked[i])
	}
	return s.first + i
}

// Example is one document.
type Example struct {
	Tokens []int
	Labels []int // parallel to Tokens; negative ones are ignored
	Row    int   // index within the source, over all its files
	Place  int   // index over the rows of all sources
}

// Open reads the inputs, renders their rows, and tokenizes them. tok may be nil for files of token ids. Small data stays
// in memory; large data goes to the cache, or to a temporary file if there is none, and is mapped from there.
func Open(ctx context.Context, inputs []source.Input, tok *tokenizer.Tokenizer, c Config) (*Dataset, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if len(inputs) == 0 {
		return nil, errors.New("data: no data: set data.train")
	}
	sets, err := source.Resolve(ctx, inputs, c.Config)
	if err != nil {
		return nil, err
	}
	b := newBuilder(sets, tok, &c)
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	d := newDataset(b)
	if d.stats.Documents == 0 {
		d.store.close()
		return nil, fmt.Errorf("data: %s: nothing to train on: %s, %d empty, %d without labels in the loss",
			inputs[0].Path, format.Counted(d.stats.Rows, "row"), d.stats.Empty, d.stats.NoLabels)
	}
	return d, nil
}

func newDataset(b *builder) *Dataset {
	d := &Dataset{config: *b.config, users: new(atomic.Int32), store: b.store, portions: b.portions, stats: b.stats, fingerprint: b.fingerprint()}
	d.users.Store(1)
	return d
}

// Close releases the memory. Datasets that were split from d must be closed separately.
func (d *Dataset) Close() error {
	if d.users.Add(-1) == 0 {
		return d.store.close()
	}
	return nil
}

// Len returns the number of documents.
func (d *Dataset) Len() (n int) {
	for i := range d.portions {
		n += d.portions[i].len()
	}
	return n
}

// Example returns document i, in the order of the source.
func (d *Dataset) Example(i int) Example {
	before := 0 // rows of earlier sources
	for k := range d.portions {
		s := &d.portions[k]
		if i < s.len() {
			doc := d.store.document(s.document(i))
			return Example{Tokens: widen(doc.IDs), Labels: widen(doc.Labels), Row: doc.Row, Place: before + doc.Row}
		}
		i, before = i-s.len(), before+s.rows()
	}
	panic(fmt.Sprintf("data: document %d is past the last one", i))
}

// rows returns the number of rows read.
func (s *portion) rows() (n int) {
	for _, f := range s.files {
		n += f.rows
	}
	return n
}

func widen(ids []int32) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = int(id)
	}
	return out
}

// Stats returns what happened to the rows. After a split, the documents, tokens, and labels are those of the part.
func (d *Dataset) Stats() Stats { return d.stats }

// Fingerprint returns a hash of all tokens and labels. A resumed run uses it to recognize its data.
func (d *Dataset) Fingerprint() string { return d.fingerprint }

// Lengths returns the number of tokens in each document.
func (d *Dataset) Lengths() []int {
	out := make([]int, 0, d.Len())
	for k := range d.portions {
		for i := range d.portions[k].len() {
			out = append(out, d.store.length(d.portions[k].document(i)))
		}
	}
	return out
}

// EpochTokens returns the number of tokens in an epoch, which depends on the weights of the sources.
func (d *Dataset) EpochTokens() (n float64) {
	for k := range d.portions {
		s := &d.portions[k]
		for i := range s.len() {
			n += s.weight * float64(d.store.length(s.document(i)))
		}
	}
	return n
}

// Split divides the dataset at random by seed: the given fraction of each source's rows goes to eval. All documents of
// a row stay together. Loaders of eval use each document once and carry no state. The two datasets share memory and are
// closed separately; d itself must no longer be closed.
func (d *Dataset) Split(fraction float64, seed uint64) (train, eval *Dataset, err error) {
	if !(fraction > 0 && fraction < 1) {
		return nil, nil, fmt.Errorf("data.eval_fraction: want above 0 and below 1, got %s", fault.Number(fraction))
	}
	a, b := *d, *d
	train, eval = &a, &b
	train.portions, eval.portions = nil, nil
	eval.config.CarryState = false
	for k := range d.portions {
		left, right := d.splitPortion(&d.portions[k], fraction, mix(seed+uint64(k)))
		right.weight = 1
		train.portions, eval.portions = append(train.portions, left), append(eval.portions, right)
	}
	if train.Len() == 0 || eval.Len() == 0 {
		return nil, nil, fmt.Errorf("data.eval_fraction: %v of %s leaves one of the two parts empty", fraction, format.Counted(d.Len(), "document"))
	}
	train.recount("train")
	eval.recount("eval")
	d.users.Add(1)
	return train, eval, nil
}

// splitPortion sends the documents of a random fraction of the rows to the right.
func (d *Dataset) splitPortion(s *portion, fraction float64, seed uint64) (left, right portion) {
	left, right = *s, *s
	left.picked, right.picked = []int32{}, []int32{}
	var groups [][2]int // documents of one row
	for i := range s.len() {
		row := d.store.document(s.document(i)).Row
		if i == 0 || row != d.store.document(s.document(i-1)).Row {
			groups = append(groups, [2]int{i, i})
		}
		groups[len(groups)-1][1] = i + 1
	}
	order := newPermutation(len(groups), seed)
	taken := int(math.Round(fraction * float64(len(groups))))
	chosen := make([]bool, len(groups))
	for i := range taken {
		chosen[order.at(i)] = true
	}
	for k, g := range groups {
		side := &left
		if chosen[k] {
			side = &right
		}
		for i := g[0]; i < g[1]; i++ {
			side.picked = append(side.picked, int32(s.document(i)))
		}
	}
	return left, right
}

// recount recomputes the counts from the documents kept.
func (d *Dataset) recount(name string) {
	s := Stats{Rows: d.stats.Rows, Empty: d.stats.Empty, NoLabels: d.stats.NoLabels, ShareGPT: d.stats.ShareGPT, Truncated: d.stats.Truncated, CutTokens: d.stats.CutTokens, MaxToken: -1}
	for k := range d.portions {
		for i := range d.portions[k].len() {
			doc := d.store.document(d.portions[k].document(i))
			s.count(doc.IDs, doc.Labels)
		}
	}
	d.stats = s
	d.fingerprint = contenthash.Sum([]byte(d.fingerprint), []byte(name), fmt.Append(nil, s))
}

// CheckVocabulary returns an error that names the file and row (from 0) of the first token id or label that is n or more.
func (d *Dataset) CheckVocabulary(n int) error {
	if d.stats.MaxToken < n {
		return nil
	}
	for k := range d.portions {
		p := &d.portions[k]
		for i := range p.len() {
			doc := d.store.document(p.document(i))
			for _, ids := range []struct {
				what   string
				values []int32
			}{{"token id", doc.IDs}, {"label", doc.Labels}} {
				for _, id := range ids.values {
					if int(id) >= n {
						return fmt.Errorf("data: %s: %s %d is outside the model's vocabulary of %d", p.place(doc.Row), ids.what, id, n)
					}
				}
			}
		}
	}
	return nil
}

// place names a row by its file and its index there.
func (p *portion) place(row int) string {
	for _, f := range p.files {
		if row < f.rows {
			return fmt.Sprintf("%s: row %d", f.path, row)
		}
		row -= f.rows
	}
	return fmt.Sprintf("row %d", row)
}

// duplicates counts the documents whose tokens equal those of an earlier one.
func (d *Dataset) duplicates() (n int) {
	seen := make(map[uint64]struct{}, d.Len())
	for k := range d.portions {
		for i := range d.portions[k].len() {
			h := uint64(0)
			for _, id := range d.store.document(d.portions[k].document(i)).IDs {
				h = mix(h ^ uint64(uint32(id)))
			}
			if _, ok := seen[h]; ok {
				n++
			}
			seen[h] = struct{}{}
		}
	}
	return n
}

// weights returns the number of documents per epoch from each source.
func (d *Dataset) weights() []int {
	n := make([]int, len(d.portions))
	for k := range d.portions {
		n[k] = int(math.Round(d.portions[k].weight * float64(d.portions[k].len())))
	}
	return n
}
