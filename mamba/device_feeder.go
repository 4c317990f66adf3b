package mamba

import (
	"context"
	"errors"
	"fmt"

	ag "mambatrain/autograd"
)

// Feeder feeds tokens to states. [Decoder] and [DeviceFeeder] implement it.
type Feeder interface {
	// Feed feeds new tokens to the state, tokens[i] to sequence i. A list may be empty.
	Feed(ctx context.Context, s *State, tokens [][]int) error
}

// DeviceFeeder feeds tokens to states on the process's device, one sequence after another, in chunks of a fixed number
// of rows. It must not be used by several goroutines at once. After the model's parameters change, create a new one.
type DeviceFeeder struct {
	m       *Model
	program *ag.Program
	rows    int
}

// NewDeviceFeeder returns a feeder that computes up to rows rows at once on the process's device.
func (m *Model) NewDeviceFeeder(rows int) (*DeviceFeeder, error) {
	g := ag.NewGraph(ag.Options{Rows: rows, Segments: true, Device: true})
	hidden := m.Forward(g)
	p, err := g.Compile(ag.Var{}, hidden[len(m.Layers)-1])
	if err != nil {
		return nil, err
	}
	if n := len(m.NewState(1).joined(0)); n != len(p.Carried()) {
		return nil, errors.New("mamba: the graph of a mixer carries a state of a different size from the one in StateSize")
	}
	return &DeviceFeeder{m, p, rows}, nil
}

// Feed implements [Feeder].
func (d *DeviceFeeder) Feed(ctx context.Context, s *State, tokens [][]int) error {
	if err := s.enqueue(d.m, tokens); err != nil {
		return err
	}
	for i := range s.Tokens {
		if err := d.feed(ctx, s, i); err != nil {
			return fmt.Errorf("mamba: sequence %d: %w", i, err)
		}
	}
	return nil
}

// feed feeds the pending tokens of sequence i. After an error, the state reflects the completed chunks.
func (d *DeviceFeeder) feed(ctx context.Context, s *State, i int) error {
	pending := s.Tokens[i][s.Fed[i]:]
	if len(pending) == 0 {
		return nil
	}
	if err := d.program.SetCarried(s.joined(i)); err != nil {
		return err
	}
	for len(pending) > 0 {
		n := min(len(pending), d.rows)
		if _, err := d.program.Eval(ctx, ag.Batch{Tokens: pending[:n], Starts: []int{0}, Continues: true}); err != nil {
			return err
		}
		s.split(i, d.program.Carried())
		s.Fed[i], pending = s.Fed[i]+n, pending[n:]
	}
	return nil
}

// joined returns the states of sequence i in the order in which a graph carries them.
func (s *State) joined(i int) (all []float32) {
	for l := range s.Conv {
		all = append(append(all, s.part(s.Conv[l], i)...), s.part(s.SSM[l], i)...)
	}
	return all
}

// split is the inverse of joined.
func (s *State) split(i int, all []float32) {
	for l := range s.Conv {
		all = all[copy(s.part(s.Conv[l], i), all):]
		all = all[copy(s.part(s.SSM[l], i), all):]
	}
}
