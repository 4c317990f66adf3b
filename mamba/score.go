package mamba

import (
	"context"
	"fmt"
	"iter"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/label"
)

// Document is a text to be scored: each token given the ones before it.
type Document struct {
	Tokens []int
	// Labels are aligned with Tokens; negative labels are not scored. If nil, all tokens are scored except the first,
	// which has no context.
	Labels []int
}

// DocumentScore is the loss on the labels of one document.
type DocumentScore struct {
	NLL     float64 // total, in nats
	Tokens  int     // labels that were scored
	Correct int     // labels that were the most probable token
	// PerToken is the loss of each token's label, or 0 if it has none. Nil unless requested.
	PerToken []float64
}

// ScoreOptions control how documents are scored.
type ScoreOptions struct {
	// Rows is the number of rows computed at once, or [defaultChunk] if 0. It limits memory, not the length of
	// documents.
	Rows int
	// PerToken requests the loss of every token.
	PerToken bool
}

// Score computes the loss of documents of any length in constant memory: they are concatenated and split into chunks,
// and a document that is split continues from its state. Scores are yielded in document order, each as soon as it is
// complete. Iteration stops after an error.
func (m *Model) Score(ctx context.Context, docs iter.Seq[Document], o ScoreOptions) iter.Seq2[DocumentScore, error] {
	return func(yield func(DocumentScore, error) bool) {
		s := &scorer{d: m.NewDecoder(o.Rows), state: m.NewState(1), o: o}
		if m.HasStart() {
			s.start = m.NewState(1)
		}
		i := 0
		for doc := range docs {
			if err := s.add(ctx, i, doc); err != nil {
				yield(DocumentScore{}, err)
				return
			}
			if !s.emit(yield) {
				return
			}
			i++
		}
		if err := s.flush(ctx); err != nil {
			yield(DocumentScore{}, err)
			return
		}
		s.emit(yield)
	}
}

// scorer fills a chunk with the rows of one document after another. state is that of the document that began in an
// earlier chunk.
type scorer struct {
	d     *Decoder
	state *State
	start *State // initial state of every document; nil: zeros
	o     ScoreOptions

	ids, first, targets []int
	owner               []int // index in open of each row's document
	open                []DocumentScore
	remaining           []int // rows of each open document not yet scored
	scored              []int // rows of each open document already scored
}

func (s *scorer) add(ctx context.Context, i int, doc Document) error {
	labels := doc.Labels
	if labels == nil {
		labels = doc.Tokens
	}
	if len(labels) != len(doc.Tokens) {
		return fmt.Errorf("mamba: document %d: %d labels for %d tokens", i, len(labels), len(doc.Tokens))
	}
	v := s.d.m.Config.VocabSize
	score := DocumentScore{}
	if s.o.PerToken {
		score.PerToken = make([]float64, len(doc.Tokens))
	}
	s.open = append(s.open, score)
	s.remaining, s.scored = append(s.remaining, len(doc.Tokens)), append(s.scored, 0)
	if s.start != nil { // treat the document as if it had begun in an earlier chunk
		if err := s.flush(ctx); err != nil {
			return err
		}
		s.state.Set(0, s.start, 0)
	}
	for t, id := range doc.Tokens {
		if id < 0 || id >= v || labels[t] >= v {
			return fmt.Errorf("mamba: document %d: token %d: id %d or label %d is outside the vocabulary of %d", i, t, id, labels[t], v)
		}
		s.ids, s.targets = append(s.ids, id), append(s.targets, label.Target(labels, t))
		first := len(s.ids) - 1 - t // negative if the document began before this chunk
		if s.start != nil {
			first = -maxKernel
		}
		s.first = append(s.first, first)
		s.owner = append(s.owner, len(s.open)-1)
		if len(s.ids) == s.d.chunk {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush runs the chunk and adds its losses to the scores.
func (s *scorer) flush(ctx context.Context) error {
	rows := len(s.ids)
	if rows == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d := s.d
	d.reserve(rows)
	x := d.b.x.Slice(0, rows, 0, d.b.x.Cols)
	d.m.Embeddings.Apply(x, s.ids)
	d.blocks(s.state, []span{{0, 0, rows}}, s.first, x, nil)
	d.m.NormF.Apply(x, x)
	nll := make([]float64, rows)
	hits, err := d.crossEntropy(nll, x, s.targets)
	if err != nil {
		return err
	}
	for t, target := range s.targets {
		s.count(s.owner[t], target, nll[t], hits[t])
	}
	s.ids, s.first, s.targets, s.owner = s.ids[:0], s.first[:0], s.targets[:0], s.owner[:0]
	return nil
}

func (s *scorer) count(i, target int, nll float64, hit bool) {
	score := &s.open[i]
	s.remaining[i]--
	s.scored[i]++
	if !label.Counts(target) {
		return
	}
	score.NLL += nll
	score.Tokens++
	if hit {
		score.Correct++
	}
	if s.o.PerToken {
		score.PerToken[s.scored[i]] = nll
	}
}

// emit yields the completed documents at the front of open.
func (s *scorer) emit(yield func(DocumentScore, error) bool) bool {
	done := 0
	for done < len(s.open) && s.remaining[done] == 0 {
		if !yield(s.open[done], nil) {
			return false
		}
		done++
	}
	s.open, s.remaining, s.scored = s.open[done:], s.remaining[done:], s.scored[done:]
	for t := range s.owner {
		s.owner[t] -= done
	}
	return true
}

// headBytes limits the memory for logits while losses are computed.
const headBytes = 32 << 20

// crossEntropy writes to nll the loss of each row of x, the last norm's output, with a nonnegative target. It returns
// which of these targets are the model's top prediction. Rows without a target are skipped.
func (d *Decoder) crossEntropy(nll []float64, x kernel.Mat[float32], targets []int) ([]bool, error) {
	v := d.m.Config.VocabSize
	hits := make([]bool, len(targets))
	limit := max(1, headBytes/(4*v))
	var rows []int
	for t, target := range targets {
		if target >= v {
			return nil, fmt.Errorf("mamba: label %d is outside the vocabulary of %d", target, v)
		}
		if label.Counts(target) {
			rows = append(rows, t)
		}
		if len(rows) == limit || t == len(targets)-1 && len(rows) > 0 {
			d.rowLosses(nll, hits, x, targets, rows)
			rows = rows[:0]
		}
	}
	return hits, nil
}

func (d *Decoder) rowLosses(nll []float64, hits []bool, x kernel.Mat[float32], targets, rows []int) {
	d.b.last = reuse(d.b.last, len(rows), x.Cols)
	kernel.Gather(d.b.last, x, rows)
	d.b.logits = reuse(d.b.logits, len(rows), d.m.Config.VocabSize)
	d.m.Head.Apply(d.b.logits, d.b.last)
	want, loss, best := make([]int, len(rows)), make([]float64, len(rows)), make([]int, len(rows))
	for i, t := range rows {
		want[i] = targets[t]
	}
	kernel.CrossEntropy(loss, kernel.Mat[float32]{}, d.b.logits, want, 1, 0)
	kernel.ArgMax(best, d.b.logits)
	for i, t := range rows {
		nll[t], hits[t] = loss[i], best[i] == want[i]
	}
}
