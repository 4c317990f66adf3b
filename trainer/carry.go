package trainer

import (
	"errors"
	"fmt"
	"slices"

	"mambatrain/autograd/kernel"
	"mambatrain/nn/weights"
)

// stateProgram is a program that can start a document from a given state, as *autograd.Program can.
type stateProgram interface {
	// Carried returns a copy of the state after the last row of the last run.
	Carried() []float32
	// SetCarried sets the state from which a continuing batch starts.
	SetCarried([]float32) error
}

// carriedStates is the states that documents pass from one micro-batch to the next: the final states of the previous
// micro-batch, from which the current one starts, and the final states of the current one so far.
type carriedStates struct{ previous, current [][]float32 }

// run runs one part from the state of the document that it continues and stores its final state. Only parts of
// micro-batches with Carry have states. Parts come in order, each document of such a micro-batch as a separate part.
func (s *carriedStates) run(p Program, part part, run func() error) error {
	if part.lane < 0 {
		return run()
	}
	c, ok := p.(stateProgram)
	if !ok {
		return errors.New("trainer: carry_state: the program does not keep a state")
	}
	if part.lane == 0 {
		s.previous, s.current = s.current, nil
	}
	if part.Continues {
		if part.after >= len(s.previous) {
			return fmt.Errorf("trainer: carry_state: a document continues from document %d of the previous micro-batch, which has only %d", part.after, len(s.previous))
		}
		if err := c.SetCarried(s.previous[part.after]); err != nil {
			return err
		}
	}
	if err := run(); err != nil {
		return err
	}
	s.current = append(s.current[:part.lane:part.lane], c.Carried())
	return nil
}

// withoutNonFinite returns the current states, with each state that is not finite replaced by zeros, the state at the
// start of a document. Otherwise it would spoil the remainder of its document.
func (s carriedStates) withoutNonFinite() carriedStates {
	c := carriedStates{current: slices.Clone(s.current)}
	for i, x := range c.current {
		if !kernel.AllFinite(x) {
			c.current[i] = make([]float32, len(x))
		}
	}
	return c
}

// entries returns the states as checkpoint tensors.
func (s *carriedStates) entries() []weights.Entry {
	var list []weights.Entry
	for i, x := range s.current {
		list = append(list, weights.FromFloat32s(carriedName(i), []int{len(x)}, x, weights.F32))
	}
	return list
}

func carriedName(i int) string { return fmt.Sprintf("carried.%d", i) }

// readCarriedStates reads the tensors that entries returned.
func readCarriedStates(f *weights.Reader) (carriedStates, error) {
	var s carriedStates
	for {
		x, ok := f.Tensor(carriedName(len(s.current)))
		if !ok {
			return s, nil
		}
		v, err := x.Float32s()
		if err != nil {
			return s, err
		}
		s.current = append(s.current, v)
	}
}
