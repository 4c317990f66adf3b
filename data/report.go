package data

import (
	"math"
	"slices"

	"mambatrain/data/tokenizer"
	"mambatrain/internal/label"
)

// Report contains the statistics of a dataset and its micro-batches that `data stats` prints.
type Report struct {
	Stats
	Duplicates int // documents whose tokens equal those of an earlier one

	Batches     int // micro-batches per epoch
	EpochTokens int // input tokens per epoch; with weights, not the dataset's total
	EpochLabels int // labels per epoch that enter the loss
	PaddedRows  int // rows per epoch if each micro-batch were padded to its longest document
	BudgetRows  int // with packing: capacity of an epoch's micro-batches in rows, otherwise 0

	MeanLength float64
	Quantiles  []Quantile
	Histogram  []LengthBin
}

// Quantile states that a share of the documents has at most Length tokens.
type Quantile struct {
	Share  float64
	Length int
}

// LengthBin counts the documents with From to To tokens, inclusive.
type LengthBin struct{ From, To, Documents int }

// PaddingSaved returns the fraction of rows, 0 to 1, that would be padding and are not computed.
func (r *Report) PaddingSaved() float64 {
	if r.PaddedRows == 0 {
		return 0
	}
	return 1 - float64(r.EpochTokens)/float64(r.PaddedRows)
}

// Report builds all micro-batches of the first epoch, as [Dataset.Loader] does, and counts them.
func (d *Dataset) Report(batchSize int, seed uint64) (*Report, error) {
	l, err := d.Loader(batchSize, seed)
	if err != nil {
		return nil, err
	}
	r := &Report{Stats: d.stats, Duplicates: d.duplicates(), Batches: l.total}
	var documents []int
	for i := range l.total {
		documents = l.plan.batch(0, i, documents[:0])
		longest := 0
		for _, k := range documents {
			doc := d.store.document(k)
			longest = max(longest, len(doc.IDs))
			r.EpochTokens += len(doc.IDs)
			r.EpochLabels += label.Count(doc.Labels)
		}
		r.PaddedRows += longest * len(documents)
	}
	lengths := d.Lengths()
	slices.Sort(lengths)
	if d.config.Packing {
		r.BudgetRows = l.total * d.batchRows(batchSize, lengths[len(lengths)-1])
	}
	sum := 0
	for _, n := range lengths {
		sum += n
	}
	r.MeanLength = float64(sum) / float64(len(lengths))
	for _, share := range []float64{0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1} {
		at := int(math.Ceil(share*float64(len(lengths)))) - 1
		r.Quantiles = append(r.Quantiles, Quantile{share, lengths[max(at, 0)]})
	}
	r.Histogram = histogram(lengths)
	return r, nil
}

// histogramBins is the approximate number of bins in a histogram.
const histogramBins = 20

// histogram counts sorted lengths in bins of equal width: 1, 2, or 5 times a power of ten.
func histogram(lengths []int) (bins []LengthBin) {
	longest := lengths[len(lengths)-1]
	width := 1
	for step := 0; longest/width >= histogramBins; step++ {
		width = []int{1, 2, 5}[step%3]
		for range step / 3 {
			width *= 10
		}
	}
	for from := 0; from <= longest; from += width {
		bins = append(bins, LengthBin{From: from, To: from + width - 1})
	}
	for _, n := range lengths {
		bins[n/width].Documents++
	}
	return bins
}

// Segment is a run of rows of one document that either all count or all do not.
type Segment struct {
	Document int // index within the batch
	First    int // row within the batch
	Rows     int
	Counted  bool // whether the labels of these rows enter the loss
	Text     string
}

// Segments returns the rows of a batch as text, split where a document begins and where labels start or stop counting.
func (b *Batch) Segments(t *tokenizer.Tokenizer) (out []Segment) {
	document := -1
	for i := range b.Tokens {
		first := document+1 < len(b.Starts) && b.Starts[document+1] == i
		if first {
			document++
		}
		counts := label.Counts(b.Labels[i]) && !first
		// The first row is not predicted. If the next one counts, it is not masked and joins that segment.
		if first && label.Counts(b.Labels[i]) && (i+1 == len(b.Tokens) || label.Counts(b.Labels[i+1])) {
			counts = true
		}
		if first || out[len(out)-1].Counted != counts {
			out = append(out, Segment{Document: document, First: i, Counted: counts})
		}
		out[len(out)-1].Rows++
	}
	for i := range out {
		s := &out[i]
		ids := b.Tokens[s.First : s.First+s.Rows]
		if i > 0 && out[i-1].Document == s.Document {
			s.Text = continuation(t, ids)
		} else {
			s.Text = t.Decode(ids)
		}
	}
	return out
}

// continuation returns the text of ids within a document. Decoding them on their own would lose a leading space if the
// tokenizer adds one to every text.
func continuation(t *tokenizer.Tokenizer, ids []int) string {
	var b []byte
	for _, id := range ids {
		part, _ := t.Bytes(id)
		b = append(b, part...)
	}
	var s tokenizer.TextStream
	return s.Add(b) + s.Rest()
}
