package mamba

import (
	"context"
	"fmt"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/label"
)

// Want specifies what [Model.Run] returns in addition to the loss.
type Want struct {
	// Logits is the number of positions at the end of each sequence, without padding, to compute logits for;
	// AllPositions: all.
	Logits int
	// Hidden requests all hidden states.
	Hidden bool
	// State, if not nil, is continued by the sequences and advanced; nil starts new sequences. It must not have pending
	// tokens.
	State *State
}

// AllPositions requests the logits of every position.
const AllPositions = -1

// Output is the result of [Model.Run]. Rows are the positions of all sequences without padding, end to end.
type Output struct {
	// Places maps each row to its sequence and position.
	Places []Place
	// Logits are (requested rows, v). LogitRows maps each of them to its row.
	Logits    kernel.Mat[float32]
	LogitRows []int
	// Hidden are the hidden states (rows, m): one after each block, then the output of the last norm.
	Hidden []kernel.Mat[float32]
	// Loss is the mean over the labels in nats per token, or 0 without labels. Tokens is the number of labels.
	Loss   float64
	Tokens int
	// TokenLoss is, for each row, the loss of the label that it predicts. Rows without a label have 0. It is nil without
	// labels.
	TokenLoss []float64
	// State is the state of the sequences after their last position, in input order.
	State *State
}

// Run runs the model on a batch of sequences without a graph, as transformers' MambaForCausalLM does when it is
// called. Each sequence gives the same result as on its own, independent of the other sequences and of padding. All
// rows are in memory at once; for sequences of any length use [Decoder] or [Model.Score].
func (m *Model) Run(ctx context.Context, in Input, want Want) (*Output, error) {
	batch, places, err := in.flatten(m.Config.HiddenSize)
	if err != nil {
		return nil, err
	}
	if err := checkIDs(in.IDs, m.Config.VocabSize); err != nil {
		return nil, err
	}
	out := &Output{Places: places, State: want.State}
	if out.State == nil {
		out.State = m.NewState(in.sequences())
	} else if err := out.State.fits(m); err != nil {
		return nil, err
	}
	if got := out.State.Sequences(); got != in.sequences() {
		return nil, fmt.Errorf("mamba: run: got %d sequences, but the state has %d", in.sequences(), got)
	}
	for i, fed := range out.State.Fed {
		if n := len(out.State.Tokens[i]) - fed; n > 0 {
			return nil, fmt.Errorf("mamba: run: sequence %d of the state has %d pending tokens; feed them with a Decoder first", i, n)
		}
	}
	if len(places) == 0 || ctx.Err() != nil {
		return out, ctx.Err()
	}
	d := m.NewDecoder(0)
	d.reserve(len(places))
	x := d.b.x
	if in.Embeds != nil {
		copy(x.Data, batch.Embeds)
	} else {
		m.Embeddings.Apply(x, batch.Tokens)
	}
	d.blocks(out.State, spansOf(places), d.b.continued, x, func(int) {
		if want.Hidden {
			out.Hidden = append(out.Hidden, copyOf(x))
		}
	})
	record(out.State, in, places)
	m.NormF.Apply(x, x)
	if want.Hidden {
		out.Hidden = append(out.Hidden, copyOf(x))
	}
	out.logits(m, x, want.Logits)
	return out, out.losses(d, x, batch.Labels)
}

// record adds the tokens that s has processed. Embeddings passed instead of ids are not recorded.
func record(s *State, in Input, places []Place) {
	if in.IDs == nil {
		return
	}
	for _, p := range places {
		s.Tokens[p.Sequence] = append(s.Tokens[p.Sequence], in.IDs[p.Sequence][p.Position])
		s.Fed[p.Sequence]++
	}
}

func copyOf(x kernel.Mat[float32]) kernel.Mat[float32] {
	c := kernel.Dense(make([]float32, x.Rows*x.Cols), x.Rows, x.Cols)
	kernel.CopyMat(c, x)
	return c
}

// spansOf groups rows by sequence.
func spansOf(places []Place) []span {
	var spans []span
	for t, p := range places {
		if t == 0 || places[t-1].Sequence != p.Sequence {
			spans = append(spans, span{p.Sequence, t, t})
		}
		spans[len(spans)-1].to = t + 1
	}
	return spans
}

// logits applies the head to the last n rows of each sequence of x.
func (o *Output) logits(m *Model, x kernel.Mat[float32], n int) {
	for _, p := range spansOf(o.Places) {
		from := p.from
		if n >= 0 {
			from = max(from, p.to-n)
		}
		for t := from; t < p.to; t++ {
			o.LogitRows = append(o.LogitRows, t)
		}
	}
	rows := len(o.LogitRows)
	if rows == 0 {
		return
	}
	chosen := kernel.Dense(make([]float32, rows*x.Cols), rows, x.Cols)
	kernel.Gather(chosen, x, o.LogitRows)
	o.Logits = kernel.Dense(make([]float32, rows*m.Config.VocabSize), rows, m.Config.VocabSize)
	m.Head.Apply(o.Logits, chosen)
}

// losses computes the loss of each row of x, the last norm's output, that predicts a label.
func (o *Output) losses(d *Decoder, x kernel.Mat[float32], labels []int) error {
	if labels == nil {
		return nil
	}
	targets := make([]int, x.Rows)
	for _, s := range spansOf(o.Places) {
		for t := s.from; t < s.to; t++ {
			targets[t] = label.Target(labels[:s.to], t)
		}
	}
	o.TokenLoss = make([]float64, x.Rows)
	_, err := d.crossEntropy(o.TokenLoss, x, targets)
	if err != nil {
		return err
	}
	for t, target := range targets {
		if label.Counts(target) {
			o.Loss += o.TokenLoss[t]
			o.Tokens++
		}
	}
	o.Loss /= float64(max(1, o.Tokens))
	return nil
}
