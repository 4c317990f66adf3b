package mamba

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/nn"
	"mambatrain/nn/weights"
)

// State is everything that a model remembers of one or more independent sequences. Its size does not depend on their
// length. Fields may be read and modified between calls.
type State struct {
	// Conv[l] contains, for each sequence, the last k−1 inputs of layer l's convolution, oldest first: (sequences,
	// k−1, channels). Inputs before the first token are zeros.
	Conv [][]float32
	// SSM[l] contains, for each sequence, the state of layer l's recurrence: h (sequences, d, n) in Mamba-1.
	// [Mixer.StateSize] returns its size.
	SSM [][]float32
	// Tokens are the ids of each sequence so far: those that have been fed, then the pending ones.
	Tokens [][]int
	// Fed is the number of Tokens that have been fed.
	Fed []int
	// Origin identifies the model that the state belongs to; the zero value is unknown.
	Origin Origin
}

// Origin identifies the model that a state belongs to. An empty field is unknown.
type Origin struct {
	Family  string // see [Config.Family]
	Weights string // identifies the weights, such as a hash
	Adapter string // identifies the adapter, or NoAdapter
}

// NoAdapter is the [Origin.Adapter] of a model without an adapter.
const NoAdapter = "none"

// NewState returns the state of empty sequences: zeros, or the initial states in [Model.Starts].
func (m *Model) NewState(sequences int) *State {
	s := &State{Tokens: make([][]int, sequences), Fed: make([]int, sequences)}
	for _, b := range m.Layers {
		conv, ssm := b.Mixer.StateSize()
		s.Conv = append(s.Conv, make([]float32, sequences*conv))
		s.SSM = append(s.SSM, make([]float32, sequences*ssm))
	}
	for l, b := range m.Layers {
		if mixer, ok := b.Mixer.(Starter); ok {
			conv, ssm := mixer.Starts()
			for i := range sequences {
				fillStart(s.part(s.Conv[l], i), conv)
				fillStart(s.part(s.SSM[l], i), ssm)
			}
		}
	}
	return s
}

func fillStart(state []float32, s nn.Start) {
	if *s.Param != nil {
		copy(state, (*s.Param).Float32s())
	}
}

// Starts lists the slots for the states that documents start from, under the names of these states in a file.
func (m *Model) Starts() []nn.Start {
	var list []nn.Start
	for l, b := range m.Layers {
		mixer, ok := b.Mixer.(Starter)
		if !ok {
			continue
		}
		conv, ssm := mixer.Starts()
		conv.Name, ssm.Name = convStates(l), ssmStates(l)
		for _, s := range []nn.Start{conv, ssm} {
			if s.Size() > 0 { // a convolution with one tap has no state
				list = append(list, s)
			}
		}
	}
	return list
}

// HasStart reports whether documents start from a state other than zeros.
func (m *Model) HasStart() bool {
	return slices.ContainsFunc(m.Starts(), func(s nn.Start) bool { return *s.Param != nil })
}

// SetStart sets the state that documents start from. s must have a single sequence, such as one read from a file.
func (m *Model) SetStart(s *State) error {
	if err := s.fits(m); err != nil {
		return err
	}
	if n := s.Sequences(); n != 1 {
		return fmt.Errorf("mamba: initial state: want the state of one sequence, got %d", n)
	}
	for l, b := range m.Layers {
		mixer, ok := b.Mixer.(Starter)
		if !ok {
			return fmt.Errorf("mamba: initial state: the mixer of layer %d does not support one", l)
		}
		conv, ssm := mixer.Starts()
		for _, place := range []struct {
			nn.Start
			values []float32
		}{{conv, s.Conv[l]}, {ssm, s.SSM[l]}} {
			if place.Size() == 0 {
				continue
			}
			p := ag.Zeros("initial_state", place.Shape...)
			copy(p.Float32s(), place.values)
			*place.Param = p
		}
	}
	return nil
}

// Names of a layer's states in a file.
func convStates(layer int) string { return "conv_states." + strconv.Itoa(layer) }
func ssmStates(layer int) string  { return "ssm_states." + strconv.Itoa(layer) }

// StateBytes returns the memory that the state of one sequence takes.
func (m *Model) StateBytes() int64 {
	const float32Bytes = 4
	n := 0
	for _, b := range m.Layers {
		conv, ssm := b.Mixer.StateSize()
		n += conv + ssm
	}
	return float32Bytes * int64(n)
}

// Sequences returns the number of sequences.
func (s *State) Sequences() int { return len(s.Fed) }

// Clone returns a deep copy of s.
func (s *State) Clone() *State {
	all := make([]int, s.Sequences())
	for i := range all {
		all[i] = i
	}
	return s.Select(all...)
}

// Select returns a copy of the given sequences, in that order. A sequence may be given more than once.
func (s *State) Select(sequences ...int) *State {
	t := &State{
		Conv: make([][]float32, len(s.Conv)), SSM: make([][]float32, len(s.SSM)),
		Tokens: make([][]int, len(sequences)), Fed: make([]int, len(sequences)), Origin: s.Origin,
	}
	for l := range s.Conv {
		t.Conv[l] = make([]float32, 0, len(sequences)*s.width(s.Conv[l]))
		t.SSM[l] = make([]float32, 0, len(sequences)*s.width(s.SSM[l]))
		for _, i := range sequences {
			t.Conv[l] = append(t.Conv[l], s.part(s.Conv[l], i)...)
			t.SSM[l] = append(t.SSM[l], s.part(s.SSM[l], i)...)
		}
	}
	for j, i := range sequences {
		t.Tokens[j], t.Fed[j] = slices.Clone(s.Tokens[i]), s.Fed[i]
	}
	return t
}

// Set makes sequence i of s a copy of sequence j of from.
func (s *State) Set(i int, from *State, j int) {
	for l := range s.Conv {
		copy(s.part(s.Conv[l], i), from.part(from.Conv[l], j))
		copy(s.part(s.SSM[l], i), from.part(from.SSM[l], j))
	}
	s.Tokens[i], s.Fed[i] = slices.Clone(from.Tokens[j]), from.Fed[j]
}

func (s *State) width(all []float32) int { return len(all) / max(1, s.Sequences()) }

func (s *State) part(all []float32, i int) []float32 {
	w := s.width(all)
	return all[i*w : (i+1)*w]
}

// fits returns an error if the state does not fit m.
func (s *State) fits(m *Model) error {
	n := s.Sequences()
	if f := s.Origin.Family; f != "" && f != m.Config.Family() {
		return fmt.Errorf("mamba: state: it is for a %s model, but this one is %s", f, m.Config.Family())
	}
	if n == 0 || len(s.Tokens) != n {
		return errors.New("mamba: state: it contains no sequence")
	}
	if len(s.Conv) != len(m.Layers) || len(s.SSM) != len(m.Layers) {
		return fmt.Errorf("mamba: state: it is for a model with %d layers, but this one has %d", len(s.Conv), len(m.Layers))
	}
	for l := range s.Conv {
		conv, ssm := m.Layers[l].Mixer.StateSize()
		for _, part := range []struct {
			name      string
			got, want int
		}{{"convolution", len(s.Conv[l]), conv}, {"recurrence", len(s.SSM[l]), ssm}} {
			if part.got != n*part.want {
				return fmt.Errorf("mamba: state: it is for a model of a different size: the %[2]s of layer %[1]d has %[3]d numbers per sequence, but %[4]d in this model",
					l, part.name, part.got/n, part.want)
			}
		}
	}
	for i, fed := range s.Fed {
		if fed < 0 || fed > len(s.Tokens[i]) {
			return fmt.Errorf("mamba: state: it is damaged: of the %d tokens of sequence %d, it has processed %d", len(s.Tokens[i]), i, fed)
		}
	}
	return nil
}

func checkIDs(sequences [][]int, v int) error {
	for i, ids := range sequences {
		for t, id := range ids {
			if id < 0 || id >= v {
				return fmt.Errorf("mamba: token %d of sequence %d: id %d is outside the vocabulary of %d", t, i, id, v)
			}
		}
	}
	return nil
}

// Save atomically writes the state to a safetensors file: conv_states.<layer>, ssm_states.<layer>, and the tokens of
// each sequence.
func (s *State) Save(path string) error {
	n := s.Sequences()
	sources := []weights.Entry{weights.FromInts("fed", s.Fed)}
	for i, ids := range s.Tokens {
		sources = append(sources, weights.FromInts("tokens."+strconv.Itoa(i), ids))
	}
	for l := range s.Conv {
		sources = append(sources,
			weights.FromFloat32s(convStates(l), []int{n, s.width(s.Conv[l])}, s.Conv[l], weights.F32),
			weights.FromFloat32s(ssmStates(l), []int{n, s.width(s.SSM[l])}, s.SSM[l], weights.F32))
	}
	metadata := map[string]string{"kind": stateKind}
	for key, value := range s.Origin.keys() {
		if *value != "" {
			metadata[key] = *value
		}
	}
	return weights.Save(path, sources, metadata)
}

// stateKind identifies files written by Save.
const stateKind = "mamba state"

// keys maps the metadata keys of a file to the fields of o.
func (o *Origin) keys() map[string]*string {
	return map[string]*string{"family": &o.Family, "weights": &o.Weights, "adapter": &o.Adapter}
}

// LoadState reads a state written by Save and checks that it fits m.
func (m *Model) LoadState(path string) (*State, error) {
	t, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var faults []error
	ints := func(name string) []int {
		x, ok := t.Tensor(name)
		if !ok {
			faults = append(faults, fmt.Errorf("mamba: state %s: %s is missing", path, name))
			return nil
		}
		v, err := x.Ints()
		faults = append(faults, err)
		return v
	}
	found := 0
	floats := func(name string) []float32 {
		x, ok := t.Tensor(name)
		if !ok {
			return nil
		}
		found++
		v, err := x.Float32s()
		faults = append(faults, err)
		return v
	}
	s := &State{}
	for key, value := range s.Origin.keys() {
		*value = t.Metadata[key]
	}
	if _, ok := t.Tensor("fed"); ok {
		s.Fed = ints("fed")
	} else { // an adapter's initial state, which has no tokens
		s.Fed, s.Tokens = []int{0}, [][]int{nil}
	}
	for i := len(s.Tokens); i < len(s.Fed); i++ {
		s.Tokens = append(s.Tokens, ints("tokens."+strconv.Itoa(i)))
	}
	for l := range m.Layers {
		s.Conv = append(s.Conv, floats(convStates(l)))
		s.SSM = append(s.SSM, floats(ssmStates(l)))
	}
	if err := fault.Join(faults...); err != nil {
		return nil, err
	}
	if found == 0 {
		return nil, fmt.Errorf("mamba: state %s: not a model state: it has no tensors %s and %s", path, convStates(0), ssmStates(0))
	}
	for l := len(m.Layers) - 1; l > 0 && s.Conv[l] == nil && s.SSM[l] == nil; l-- {
		s.Conv, s.SSM = s.Conv[:l], s.SSM[:l]
	}
	if _, more := t.Tensor(ssmStates(len(m.Layers))); more {
		return nil, fmt.Errorf("mamba: state %s: it is for a model with more layers; this one has %d", path, len(m.Layers))
	}
	if err := s.fits(m); err != nil {
		return nil, fmt.Errorf("state %s: %s", path, strings.TrimPrefix(err.Error(), "mamba: state: "))
	}
	return s, checkIDs(s.Tokens, m.Config.VocabSize)
}
