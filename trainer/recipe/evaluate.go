package recipe

import (
	"context"
	"fmt"
	"iter"
	"math"

	"mambatrain/data"
	"mambatrain/data/tokenizer"
	"mambatrain/mamba"
)

// Evaluation is how well a model predicts the labels of a data set.
type Evaluation struct {
	NLL     float64 // nats, summed over the labels
	Tokens  int     // labels
	Correct int     // labels that were the most probable token
	Rows    []RowLoss
}

// RowLoss is the part of a row of the data set's source.
type RowLoss struct {
	NLL    float64
	Tokens int
}

// Loss is the mean negative log-likelihood of a label, in nats.
func (e Evaluation) Loss() float64 { return e.NLL / math.Max(1, float64(e.Tokens)) }

// Accuracy is the share of labels that were the most probable token.
func (e Evaluation) Accuracy() float64 { return float64(e.Correct) / math.Max(1, float64(e.Tokens)) }

// Evaluate runs a data set through the model, in memory that does not grow with its documents.
func (m *Model) Evaluate(ctx context.Context, in Sources, c data.Config) (e Evaluation, err error) {
	d, err := openData(ctx, in, m.Tokenizer, m.Config.VocabSize, c)
	if err != nil {
		return e, err
	}
	defer d.Close()
	e.Rows = make([]RowLoss, d.Stats().Rows)
	i := 0
	for score, err := range m.Score(ctx, documents(d), mamba.ScoreOptions{}) {
		if err != nil {
			return e, fmt.Errorf("data %s: %w", in[0].Path, err)
		}
		row := &e.Rows[d.Example(i).Row]
		row.NLL += score.NLL
		row.Tokens += score.Tokens
		e.NLL += score.NLL
		e.Tokens += score.Tokens
		e.Correct += score.Correct
		i++
	}
	return e, nil
}

// openData opens a data set whose ids are all below vocabulary.
func openData(ctx context.Context, in Sources, t *tokenizer.Tokenizer, vocabulary int, c data.Config) (*data.Dataset, error) {
	d, err := data.Open(ctx, in, t, c)
	if err != nil {
		return nil, err
	}
	if err := d.CheckVocabulary(vocabulary); err != nil {
		d.Close()
		return nil, fmt.Errorf("%w%s", err, wayOut(t, vocabulary))
	}
	return d, nil
}

func documents(d *data.Dataset) iter.Seq[mamba.Document] {
	return func(yield func(mamba.Document) bool) {
		for i := range d.Len() {
			e := d.Example(i)
			if !yield(mamba.Document{Tokens: e.Tokens, Labels: e.Labels}) {
				return
			}
		}
	}
}
