package mamba

import (
	"fmt"

	ag "mambatrain/autograd"
)

// Input is a batch in transformers' form: sequences, possibly of different lengths, and a mask.
type Input struct {
	// IDs are the token ids of each sequence.
	IDs [][]int
	// Embeds replaces IDs with embeddings: for each sequence a matrix (length, m), in row-major order.
	Embeds [][]float32
	// Mask is 1 (or more) for real positions and 0 for padding, on either side, which is skipped. Nil means no padding.
	Mask [][]int
	// Labels are aligned with the positions; the loss shifts them by one. Negative labels are ignored. Nil means no loss.
	Labels [][]int
}

// Place is the sequence and position that a row came from.
type Place struct{ Sequence, Position int }

// flatten concatenates the real positions of all sequences, with one document for each nonempty sequence, and returns
// the place of each row. m is the width of an embedding, used only with Embeds.
func (in Input) flatten(m int) (ag.Batch, []Place, error) {
	var b ag.Batch
	var places []Place
	if err := in.check(m); err != nil {
		return b, nil, err
	}
	for i := range in.sequences() {
		start := len(places)
		for t := range in.length(i, m) {
			if in.Mask != nil && in.Mask[i][t] == 0 {
				continue
			}
			places = append(places, Place{i, t})
			if in.Embeds != nil {
				b.Embeds = append(b.Embeds, in.Embeds[i][t*m:(t+1)*m]...)
			} else {
				b.Tokens = append(b.Tokens, in.IDs[i][t])
			}
			if in.Labels != nil {
				b.Labels = append(b.Labels, in.Labels[i][t])
			}
		}
		if len(places) > start {
			b.Starts = append(b.Starts, start)
		}
	}
	return b, places, nil
}

func (in Input) sequences() int {
	if in.Embeds != nil {
		return len(in.Embeds)
	}
	return len(in.IDs)
}

func (in Input) length(i, m int) int {
	if in.Embeds != nil {
		return len(in.Embeds[i]) / m
	}
	return len(in.IDs[i])
}

func (in Input) check(m int) error {
	n := in.sequences()
	switch {
	case in.IDs != nil && in.Embeds != nil:
		return fmt.Errorf("mamba: input: has both token ids and embeddings")
	case in.Mask != nil && len(in.Mask) != n:
		return fmt.Errorf("mamba: input: masks for %d sequences, want %d", len(in.Mask), n)
	case in.Labels != nil && len(in.Labels) != n:
		return fmt.Errorf("mamba: input: labels for %d sequences, want %d", len(in.Labels), n)
	}
	for i := range n {
		if in.Embeds != nil && len(in.Embeds[i])%m != 0 {
			return fmt.Errorf("mamba: input: sequence %d has %d numbers, not a multiple of the width %d", i, len(in.Embeds[i]), m)
		}
		l := in.length(i, m)
		if in.Mask != nil && len(in.Mask[i]) != l {
			return fmt.Errorf("mamba: input: sequence %d has %d positions, but its mask has %d", i, l, len(in.Mask[i]))
		}
		if in.Labels != nil && len(in.Labels[i]) != l {
			return fmt.Errorf("mamba: input: sequence %d has %d positions, but %d labels", i, l, len(in.Labels[i]))
		}
	}
	return nil
}
