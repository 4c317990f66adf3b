package lora

import (
	"fmt"
	"slices"
	"strings"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/fault"
	"mambatrain/nn/weights"
)

// Term is one of several adapters to merge, with its weight in the result: 1 applies it in full.
type Term struct {
	*Directory
	Weight float64
}

// Tie names the head and the table of a model with a tied head, such as lm_head.weight and
// backbone.embeddings.weight. The zero Tie means that the head is not tied.
type Tie struct{ Head, Table string }

// MergeOptions describe the base and the result of a merge.
type MergeOptions struct {
	Tie Tie
	// DType returns the type in which to write a tensor, given its type in the base; nil keeps that type.
	DType func(name string, shape []int, own weights.DType) weights.DType
}

// MergedModel is a merge that has been checked. It is computed while its tensors are written, one at a time.
type MergedModel struct {
	// Entries are all tensors of the merged model under their names in the base, for [weights.SaveShards].
	Entries []weights.Entry
	// Changed names the tensors that differ from the base's.
	Changed []string
	// Untied reports whether the head is now a separate tensor: the configuration must set tie_word_embeddings to
	// false.
	Untied bool
}

// MergeFiles prepares the merge of adapters into the weight files base: W + Σ Weight·(W of the adapter − W), computed
// in float32 regardless of types. Everything is checked before any tensor is read: if an adapter does not fit, the
// error lists all mismatched names and shapes. base and the directories must stay open while the entries are written.
func MergeFiles(base *weights.Reader, o MergeOptions, adapters ...Term) (*MergedModel, error) {
	p := patch{base: base, names: indexed(base.Names()), tie: o.Tie, edits: map[string]*edit{}}
	for i := range adapters {
		if adapters[i].hasInitialState() {
			return nil, errMergeInitialState
		}
		p.add(&adapters[i])
	}
	if p.err != nil {
		return nil, p.err
	}
	if len(p.faults) > 0 {
		return nil, fmt.Errorf("lora: merge: the adapter does not fit %s:\n  %s", base.Path(), p.faults.Report())
	}
	return p.sources(o), nil
}

// patch collects the edits to the tensors of the base.
type patch struct {
	base   *weights.Reader
	names  names // of the base
	tie    Tie
	edits  map[string]*edit
	faults fault.List
	err    error
}

// edit describes the changes to one tensor.
type edit struct {
	name  string
	from  weights.Tensor // its values in the base
	steps []step
}

// step is one adapter's part of an edit: it replaces the tensor, changes it, or both.
type step struct {
	weight  float64
	of      *Term
	replace *weights.Tensor
	module  *module // changes the replacement if there is one
	pissa   bool
}

// replace adds a step that replaces the tensor to the edit, or adds the replacement to the step of the same adapter.
func (e *edit) replace(s step) {
	if last := len(e.steps) - 1; last >= 0 && e.steps[last].of == s.of {
		e.steps[last].replace = s.replace
		return
	}
	e.steps = append(e.steps, s)
}

// edit returns the edit of the tensor with the given name in an adapter, or nil if the base has no such tensor. A
// tied head that is not in the files starts as a copy of the table.
func (p *patch) edit(name string) *edit {
	if i := p.names.find(name); i >= 0 {
		name = p.base.Names()[i]
	} else if p.tie.Head != "" && sameName(p.tie.Head, name) {
		name = p.tie.Head
	} else {
		return nil
	}
	if e := p.edits[name]; e != nil {
		return e
	}
	from, ok := p.base.Tensor(name)
	if !ok {
		if i := p.names.find(p.tie.Table); i >= 0 {
			from, _ = p.base.Tensor(p.base.Names()[i])
		}
	}
	e := &edit{name: name, from: from}
	p.edits[name] = e
	return e
}

func (p *patch) add(a *Term) {
	adapted := map[*edit]bool{}
	for i := range a.modules {
		m := &a.modules[i]
		name := m.path + ".weight"
		if m.parameter != "" {
			name = m.parameter
		}
		e := p.edit(name)
		if e == nil {
			p.faults.Add(name, "the base has no such tensor")
			continue
		}
		if w := e.from.Shape; len(w) != 2 || m.a.Shape[1] != w[m.inputAxis()] || m.b.Shape[0] != w[1-m.inputAxis()] {
			p.faults.Add(name, "A is %v and B is %v, but the base's tensor is %v", m.a.Shape, m.b.Shape, w)
			continue
		}
		if adapted[e] {
			p.faults.Add(name, "is adapted twice")
			continue
		}
		adapted[e] = true
		e.steps = append(e.steps, step{weight: a.Weight, of: a, module: m, pissa: m.pissa})
	}
	replaced := map[*edit]bool{}
	for i := range a.params {
		p.replace(a, &a.params[i], replaced)
	}
	if p.err == nil && len(p.faults) == 0 {
		p.err = a.deficit(p.contents())
	}
}

// contents lists the base's matrices, as module paths, and all its tensors.
func (p *patch) contents() (matrices, tensors []string) {
	tensors = slices.Clone(p.base.Names())
	if p.tie.Head != "" && p.names.find(p.tie.Head) < 0 {
		tensors = append(tensors, p.tie.Head)
	}
	for _, name := range tensors {
		t, ok := p.base.Tensor(name)
		if path, weight := strings.CutSuffix(name, ".weight"); weight && (!ok || len(t.Shape) == 2) {
			matrices = append(matrices, path)
		}
	}
	return matrices, tensors
}

// inputAxis returns the axis of the weight that corresponds to the columns of A.
func (m *module) inputAxis() int {
	if m.table {
		return 0
	}
	return 1
}

// replace adds the replacement of a tensor. replaced contains the edits of tensors that this adapter has already
// replaced.
func (p *patch) replace(a *Term, w *fileParam, replaced map[*edit]bool) {
	e := p.edit(w.name)
	switch {
	case e == nil:
		p.faults.Add(w.name, "the base has no such tensor")
		return
	case replaced[e]:
		p.faults.Add(w.name, "is replaced twice")
		return
	case !slices.Equal(e.from.Shape, w.tensor.Shape):
		p.faults.Add(w.name, "is %v, but the base's is %v", w.tensor.Shape, e.from.Shape)
		return
	}
	if w.copied {
		same, err := equalTensors(e.from, w.tensor)
		if err == nil && !same && p.tie.Head != "" && sameName(e.name, p.tie.Head) {
			same, err = a.repeats(*w, p.tie.Table)
		}
		if err != nil {
			p.err = err
			return
		}
		if same {
			return
		}
		// A table or head that was saved because it differs from the base also replaces the other one if they are tied.
		if other := p.tiedTo(e, a.Directory); other != nil {
			other.replace(step{weight: a.Weight, of: a, replace: &w.tensor})
		}
	}
	replaced[e] = true
	e.replace(step{weight: a.Weight, of: a, replace: &w.tensor})
}

// tiedTo returns the edit of the head if e is that of the table, or the reverse if d does not replace the table. It
// returns nil if they are not tied.
func (p *patch) tiedTo(e *edit, d *Directory) *edit {
	switch {
	case p.tie.Head == "":
	case sameName(e.name, p.tie.Table):
		return p.edit(p.tie.Head)
	case sameName(e.name, p.tie.Head) && !d.has(p.tie.Table):
		return p.edit(p.tie.Table)
	}
	return nil
}

// equalTensors reports whether two tensors have equal values, regardless of type.
func equalTensors(x, y weights.Tensor) (bool, error) {
	a, err := x.Float32s()
	if err != nil {
		return false, err
	}
	b, err := y.Float32s()
	return slices.Equal(a, b), err
}

// sources lists the merged model's tensors in the base's order, with a new head last.
func (p *patch) sources(o MergeOptions) *MergedModel {
	m := &MergedModel{}
	add := func(name string, from weights.Tensor, values func() (any, error)) {
		as := from.DType
		if o.DType != nil {
			as = o.DType(name, from.Shape, from.DType)
		}
		s := weights.FromTensor(name, from, as)
		if values != nil {
			s.Values, s.Blocks = values, nil
			m.Changed = append(m.Changed, name)
		}
		m.Entries = append(m.Entries, s)
	}
	names := slices.Clone(p.base.Names())
	table, head := p.tied()
	if m.Untied = table != nil || head != nil; m.Untied && !slices.Contains(names, p.tie.Head) {
		names = append(names, p.tie.Head)
		p.edit(p.tie.Head)
	}
	for _, name := range names {
		e := p.edits[name]
		if e == nil || len(e.steps) == 0 {
			from, ok := p.base.Tensor(name)
			if !ok {
				from = e.from
			}
			add(name, from, nil)
			continue
		}
		add(name, e.from, e.values)
	}
	return m
}

// tied returns the edits of table and head. Each is nil if it has no steps, and both are nil if the two remain equal.
func (p *patch) tied() (table, head *edit) {
	if p.tie.Head == "" {
		return nil, nil
	}
	for name, e := range p.edits {
		switch {
		case len(e.steps) == 0:
		case name == p.tie.Head:
			head = e
		case sameName(name, p.tie.Table):
			table = e
		}
	}
	if table != nil && head != nil && slices.Equal(table.steps, head.steps) {
		return nil, nil
	}
	return table, head
}

// values computes the merged tensor.
func (e *edit) values() (any, error) {
	w, err := e.from.Float32s()
	if err != nil {
		return nil, err
	}
	if s := e.steps[0]; len(e.steps) == 1 && (s.weight == 1 || !s.pissa && (s.replace == nil || s.module == nil)) {
		return w, s.apply(w, e.from.Shape, s.weight)
	}
	// Each adapter's change is relative to the base's weight, not to the result of the others or to a reduced weight.
	sum := slices.Clone(w)
	for _, s := range e.steps {
		one := slices.Clone(w)
		if err := s.apply(one, e.from.Shape, 1); err != nil {
			return nil, err
		}
		for i, x := range one {
			sum[i] += float32(s.weight) * (x - w[i])
		}
	}
	return sum, nil
}

// apply adds share times the step's change to w. share must be 1 if the step both replaces and changes the tensor.
func (s step) apply(w []float32, shape []int, share float64) error {
	if s.replace != nil {
		own, err := s.replace.Float32s()
		if err != nil {
			return err
		}
		for i, x := range own {
			if share == 1 {
				w[i] = x
			} else {
				w[i] += float32(share) * (x - w[i])
			}
		}
	}
	if s.module == nil {
		return nil
	}
	c, err := s.module.change()
	if err != nil {
		return err
	}
	if s.pissa {
		lost := *c
		lost.magnitude = nil // that of DoRA applies to the reduced weight
		lost.a, lost.b = principalPair(kernel.Dense(w, shape[0], shape[1]), c.rank, c.scale, exact, nil)
		lost.fold(w, shape[0], shape[1], -share)
	}
	c.fold(w, shape[0], shape[1], share)
	return nil
}
