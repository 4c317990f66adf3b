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

// Evaluation measures how well a model predicts the labels of a dataset.
type Evaluation struct {
	NLL     float64 // summed over the labels, in nats
	Tokens  int     // labels
	Correct int     // labels that were the most probable token
	Rows    []RowLoss
}

// RowLoss is the part of an evaluation from one row.
type RowLoss struct {
	Row    int // from 0, over all sources
	NLL    float64
	Tokens int
}

// Loss returns the mean negative log-likelihood of a label, in nats.
func (e Evaluation) Loss() float64 { return e.NLL / math.Max(1, float64(e.Tokens)) }

// Accuracy returns the fraction of labels that were the most probable token.
func (e Evaluation) Accuracy() float64 { return float64(e.Correct) / math.Max(1, float64(e.Tokens)) }

// TestSet is a dataset to evaluate on.
type TestSet struct {
	Name    string // may be empty
	Sources Sources
	Data    data.Config
	// Fraction, unless 0, is the fraction of the data that a run with this Seed does not train on. The remainder is
	// excluded.
	Fraction float64
	Seed     int
	// Progress, unless nil, is called after each document with the number of documents that are done.
	Progress func(done, all int)
}

// TestSets returns the datasets that a run evaluates on, prepared in the same way: data.eval, or the fraction of the
// training data that data.eval_fraction splits off. If the run evaluates on nothing, it returns the training data.
func (c *Config) TestSets() (sets []TestSet) {
	settings := c.Data.Config
	settings.Shuffle, settings.CarryState = false, false
	if len(c.Data.Eval) == 0 {
		return []TestSet{{Sources: c.Data.Train, Data: settings, Fraction: c.Data.EvalFraction, Seed: c.Seed}}
	}
	settings.MaxTrainSamples = 0
	for _, set := range c.Data.Eval {
		sets = append(sets, TestSet{Name: set.Name, Sources: set.Sources, Data: settings})
	}
	return sets
}

// Evaluate runs a dataset through the model, using memory that does not grow with the length of documents.
func (m *Model) Evaluate(ctx context.Context, set TestSet) (e Evaluation, err error) {
	d, err := m.openTestSet(ctx, set)
	if err != nil {
		return e, err
	}
	defer d.Close()
	rows := make([]RowLoss, d.Stats().Rows)
	evaluated := func(r RowLoss) bool { return set.Fraction == 0 || r.Tokens > 0 }
	add := func(document int, nll float64, tokens int) {
		row := &rows[d.Example(document).Place]
		row.NLL += nll
		row.Tokens += tokens
		e.NLL += nll
		e.Tokens += tokens
		if set.Progress != nil {
			set.Progress(document+1, d.Len())
		}
	}
	if e.Correct, err = m.evaluate(ctx, d, add); err != nil {
		return e, fmt.Errorf("data %s: %w", set.Sources[0].Path, err)
	}
	for i, r := range rows {
		if r.Row = i; evaluated(r) {
			e.Rows = append(e.Rows, r)
		}
	}
	return e, nil
}

// evaluate calls add for each document, in order, and returns the number of labels that were the most probable token.
func (m *Model) evaluate(ctx context.Context, d *data.Dataset, add func(document int, nll float64, tokens int)) (correct int, err error) {
	if onDevice, err := m.newDeviceEvaluation(add); err != nil {
		return 0, err
	} else if onDevice != nil {
		err := onDevice.run(ctx, d)
		return onDevice.correct, err
	}
	i := 0
	for score, err := range m.Score(ctx, documents(d), mamba.ScoreOptions{}) {
		if err != nil {
			return correct, err
		}
		add(i, score.NLL, score.Tokens)
		correct += score.Correct
		i++
	}
	return correct, nil
}

func (m *Model) openTestSet(ctx context.Context, set TestSet) (*data.Dataset, error) {
	d, err := openData(ctx, set.Sources, m.Tokenizer, m.Config.VocabSize, set.Data)
	if err != nil || set.Fraction == 0 {
		return d, err
	}
	train, share, err := d.Split(set.Fraction, uint64(set.Seed)+splitStream)
	if err != nil {
		d.Close()
		return nil, invalid(err)
	}
	return share, train.Close()
}

// openData opens a dataset whose ids must all be below vocabulary.
func openData(ctx context.Context, in Sources, t *tokenizer.Tokenizer, vocabulary int, c data.Config) (*data.Dataset, error) {
	d, err := data.Open(ctx, in, t, c)
	if err != nil {
		return nil, err
	}
	if err := d.CheckVocabulary(vocabulary); err != nil {
		d.Close()
		return nil, fmt.Errorf("%w%s", err, vocabularyHint(t, vocabulary))
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
