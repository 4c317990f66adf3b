package lora

import (
	"fmt"

	"gorgonia.org/tensor"

	"mambatrain/nn"
)

// Merge folds the adapter into the model's weights, in float32 whatever the weights are, and takes it out of its slots;
// the parameters that it has whole become the base's. A weight in bfloat16 becomes float32. A tied head is untied where
// the table or the head changes, because the two are different from then on; the model must be an [Untier] for that.
// Afterwards the adapter is spent: it cannot be enabled again.
func (a *Adapted) Merge() error {
	if !a.enabled {
		return fmt.Errorf("lora: merge: the adapter is not enabled")
	}
	if head := tiedHead(a.model); head.Linear != nil {
		for _, l := range a.layers {
			if l.Weight() != head.Weight() {
				continue
			}
			if err := untie(a.model, head); err != nil {
				return err
			}
			break
		}
	}
	for _, l := range a.layers {
		w := l.Weight()
		w.Unpack()
		if w.IsBF16() {
			w.Value = float32Copy(w)
		}
		l.change().fold(w.Float32s(), w.Shape()[0], w.Shape()[1], 1)
		w.Touch()
		l.SetAdapter(nil)
	}
	a.layers, a.whole, a.enabled = nil, nil, false
	return nil
}

// Unmerge gives the parameters of m that the adapter of d changes the values that they have in base, the files of the
// model before the merge: bit for bit the old weights.
func (d *Directory) Unmerge(m nn.Module, base *nn.Tensors) error {
	names := base.Names()
	f := fitting{m: m, d: d}
	for i := range d.modules {
		f.module(&d.modules[i])
	}
	if err := f.wholes(); err != nil {
		return err
	}
	for _, t := range f.targets {
		f.parameters = append(f.parameters, fitWhole{param: t.Weight()})
	}
	for _, w := range f.parameters {
		i := find(names, w.param.Name)
		if i < 0 {
			return fmt.Errorf("lora: unmerge: %s has no %s", base.Path(), w.param.Name)
		}
		t, _ := base.Tensor(names[i])
		w.param.Unpack()
		if w.param.IsBF16() {
			w.param.Value = tensor.New(tensor.WithShape(w.param.Shape()...), tensor.Of(tensor.Float32))
		}
		if err := t.Read(w.param); err != nil {
			return err
		}
	}
	return nil
}
