package mamba

import (
	"context"
	"fmt"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/label"
)

// Want says what [Model.Run] returns beside the loss.
type Want struct {
	// Logits is how many of each sequence's last real positions get logits; AllPositions: all.
	Logits int
	// Hidden asks for every hidden state.
	Hidden bool
	// State continues these sequences and is advanced; nil starts new ones.
	State *State
}

// AllPositions asks for the logits of every position.
const AllPositions = -1

// Output is what a run of the model gives. Rows are the real positions of all sequences, end to end.
type Output struct {
	// Places says which sequence and position each row is.
	Places []Place
	// Logits are (wanted rows, v); LogitRows says which row each is.
	Logits    kernel.Mat[float32]
	LogitRows []int
	// Hidden are the hidden states (rows, m): one after each block, the last norm's output at the end.
	Hidden []kernel.Mat[float32]
	// Loss is the mean over the counted labels in nats per token, 0 without any; Tokens is their number.
	Loss   float64
	Tokens int
	// TokenLoss is, for each row, the loss of the label that the row predicts, 0 where there is none. Nil without labels.
	TokenLoss []float64
	// State is the sequences' state after their last real position, in order of the input.
	State *State
}

// Run runs the model on a batch of sequences without a graph: the counterpart of calling transformers'
// MambaForCausalLM. Each sequence gives what it gives alone, whatever the others and the padding are. All rows are in
// memory at once; [Decoder] and [Model.Score] work on sequences of any length.
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
		return nil, fmt.Errorf("mamba: run: %d sequences, the state has %d", in.sequences(), got)
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

// record notes in the state what it has seen. Vectors are no tokens and leave no trace there.
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

// logits runs the head on the last n rows of each sequence of x.
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

// losses computes the loss of every row of x, the last norm's output, that predicts a label.
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
