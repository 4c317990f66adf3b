package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/nn"
	"mambatrain/nn/weights"
)

// initialStateFile is the file in an adapter directory with the states that documents start from, in the format of a
// state of one sequence.
const initialStateFile = "initial_state.safetensors"

// errMergeInitialState rejects a merge that would lose part of the adapter.
var errMergeInitialState error = fault.Fault{Path: "initial_state", Problem: "weights cannot contain the state that documents start from, so the adapter cannot be merged; use it with --adapter"}

// starter is a model whose documents can start from learned states.
type starter interface {
	Starts() []nn.Start
}

// start is an initial state that the adapter sets.
type start struct {
	nn.Start
	own *ag.Param
}

// newStarts returns states of zeros, with which the model computes the same as without them.
func newStarts(m nn.Module) ([]start, error) {
	s, ok := m.(starter)
	if !ok || len(s.Starts()) == 0 {
		return nil, fault.Fault{Path: "initial_state", Problem: "the model has no trainable start states"}
	}
	var list []start
	for _, place := range s.Starts() {
		list = append(list, start{place, ag.Zeros("initial_state."+place.Name, place.Shape...)})
	}
	return list, nil
}

// taken reports whether m already has an initial state.
func taken(m nn.Module) bool {
	s, ok := m.(starter)
	return ok && slices.ContainsFunc(s.Starts(), func(p nn.Start) bool { return *p.Param != nil })
}

// startEntries lists the tensors of initialStateFile.
func (a *Adapter) startEntries() []weights.Entry {
	var list []weights.Entry
	for _, s := range a.starts {
		list = append(list, weights.FromFloat32s(s.Name, []int{1, s.Size()}, s.own.Float32s(), weights.F32))
	}
	return list
}

// saveStarts writes the states to dir, if there are any.
func (a *Adapter) saveStarts(dir string) error {
	if len(a.starts) == 0 {
		return nil
	}
	return weights.Save(filepath.Join(dir, initialStateFile), a.startEntries(), nil)
}

// verifyStarts compares the states in dir with the adapter's, bit for bit.
func (a *Adapter) verifyStarts(dir string) error {
	if len(a.starts) == 0 {
		return nil
	}
	file, err := weights.Open(filepath.Join(dir, initialStateFile))
	if err != nil {
		return err
	}
	defer file.Close()
	var errs []error
	for _, e := range a.startEntries() {
		errs = append(errs, same(file, e))
	}
	return fault.Join(errs...)
}

// hasInitialState reports whether the adapter contains states that documents start from. They need the adapter:
// merged weights cannot contain them.
func (d *Directory) hasInitialState() bool {
	_, err := os.Stat(filepath.Join(d.Path, initialStateFile))
	return d.Config.InitialState || !errors.Is(err, fs.ErrNotExist)
}

// loadStarts reads the states for m.
func (d *Directory) loadStarts(m nn.Module) ([]start, error) {
	if !d.hasInitialState() {
		return nil, nil
	}
	list, err := newStarts(m)
	if err != nil {
		return nil, fmt.Errorf("lora: %s: %w", d.Path, err)
	}
	return list, d.readStarts(list)
}

// readStarts reads the states into list.
func (d *Directory) readStarts(list []start) error {
	path := filepath.Join(d.Path, initialStateFile)
	file, err := weights.Open(path)
	if err != nil {
		return fmt.Errorf("lora: initial_state: %w", err)
	}
	defer file.Close()
	for _, s := range list {
		t, ok := file.Tensor(s.Name)
		if want := []int{1, s.Size()}; !ok || !slices.Equal(t.Shape, want) {
			return fmt.Errorf("lora: %s does not fit the model: %s is %v, want %v", path, s.Name, t.Shape, want)
		}
		if err := t.ReadFloat32s(s.own.Float32s()); err != nil {
			return err
		}
	}
	return nil
}
