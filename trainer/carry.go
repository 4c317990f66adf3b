package trainer

import (
	"errors"
	"fmt"
	"slices"

	"mambatrain/autograd/kernel"
	"mambatrain/nn/weights"
)

// Carrier is a program that starts a document from a given state.
type Carrier interface {
	// Carried returns a copy of the state after the last row of the last run.
	Carried() []float32
	// SetCarried makes it the state from which a batch that continues starts.
	SetCarried([]float32) error
}

// states are what the documents of a micro-batch hand on to the next one. The micro-batch under way reads those of the
// one before while it fills its own.
type states struct{ last, now [][]float32 }

// through runs one part, from the state that it goes on from, and keeps the state that it ends in. Only parts of
// micro-batches with Carry have any. Parts come in order, each document of such a micro-batch by itself.
func (s *states) through(p Program, part part, run func() error) error {
	if part.lane < 0 {
		return run()
	}
	c, ok := p.(Carrier)
	if !ok {
		return errors.New("trainer: carry_state: the program keeps no state")
	}
	if part.lane == 0 {
		s.last, s.now = s.now, nil
	}
	if part.Continues {
		if part.after >= len(s.last) {
			return fmt.Errorf("trainer: carry_state: a document goes on from document %d of the micro-batch before, which has %d", part.after, len(s.last))
		}
		if err := c.SetCarried(s.last[part.after]); err != nil {
			return err
		}
	}
	if err := run(); err != nil {
		return err
	}
	s.now = append(s.now[:part.lane:part.lane], c.Carried())
	return nil
}

// mended are the states with zeros, as at a document's beginning, for each that is not finite: carried on, it would spoil
// the rest of its document.
func (s states) mended() states {
	m := states{now: slices.Clone(s.now)}
	for i, x := range m.now {
		if !kernel.AllFinite(x) {
			m.now[i] = make([]float32, len(x))
		}
	}
	return m
}

// sources are the states as tensors of a checkpoint.
func (s *states) sources() []weights.Entry {
	var list []weights.Entry
	for i, x := range s.now {
		list = append(list, weights.FromFloat32s(carriedName(i), []int{len(x)}, x, weights.F32))
	}
	return list
}

func carriedName(i int) string { return fmt.Sprintf("carried.%d", i) }

// readStates reads back what sources has written.
func readStates(f *weights.Reader) (states, error) {
	var s states
	for {
		x, ok := f.Tensor(carriedName(len(s.now)))
		if !ok {
			return s, nil
		}
		v, err := x.Float32s()
		if err != nil {
			return s, err
		}
		s.now = append(s.now, v)
	}
}
