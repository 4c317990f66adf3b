package lora

import (
	"fmt"
	"slices"

	"mambatrain/internal/fault"
)

// Restore sets the adapter to the values that Save wrote to dir, bit for bit, to resume a run from a checkpoint. The
// adapter must have been created with the same settings and base. A missing or unexpected tensor is an error and
// leaves the adapter unchanged.
func (a *Adapter) Restore(dir string) error {
	if err := a.checkMerged("restore"); err != nil {
		return err
	}
	d, err := Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	r := snapshot{d: d, changes: make([]*change, len(a.layers)), values: make([][]float32, len(a.overrides))}
	r.layers(a)
	r.params(a)
	if len(r.faults) > 0 {
		return fmt.Errorf("lora: %s was not saved from this adapter:\n  %s", dir, r.faults.Report())
	}
	if len(a.starts) > 0 {
		if err := d.readStarts(a.starts); err != nil {
			return err
		}
	}
	for i, l := range a.layers {
		l.restore(r.changes[i], a.enabled)
	}
	for i, w := range a.overrides {
		copy(w.own.Float32s(), r.values[i])
	}
	a.Invalidate()
	return nil
}

// snapshot is a saved adapter as read from its files, with the faults found.
type snapshot struct {
	d       *Directory
	changes []*change   // of each layer
	values  [][]float32 // of each whole parameter
	faults  fault.List
}

func (r *snapshot) layers(a *Adapter) {
	left := slices.Clone(r.d.modules)
	for i, l := range a.layers {
		k := slices.IndexFunc(left, func(m module) bool { return m.path == l.Path })
		if k < 0 {
			r.faults.Add(l.Path, "is missing")
			continue
		}
		m := left[k]
		left = slices.Delete(left, k, k+1)
		c, err := m.change()
		switch want := l.change(); {
		case err != nil:
			r.faults.Add(l.Path, "%v", err)
		case l.principal != nil && (c.rank != 2*want.rank || len(c.a) != 2*len(want.a) || len(c.b) != 2*len(want.b)),
			l.principal == nil && (len(c.a) != len(want.a) || len(c.b) != len(want.b)),
			len(c.magnitude) != len(want.magnitude):
			r.faults.Add(l.Path, "A and B have %d and %d elements with rank %d, so this is another adapter", len(c.a), len(c.b), c.rank)
		}
		r.changes[i] = c
	}
	for _, m := range left {
		r.faults.Add(m.path, "is not adapted in this run")
	}
}

func (r *snapshot) params(a *Adapter) {
	left := slices.Clone(r.d.params)
	for i, w := range a.overrides {
		k := slices.IndexFunc(left, func(t fileParam) bool { return t.name == w.param.Name })
		if k < 0 {
			r.faults.Add(w.param.Name, "is missing")
			continue
		}
		t := left[k].tensor
		left = slices.Delete(left, k, k+1)
		if !slices.Equal(t.Shape, w.param.Shape()) {
			r.faults.Add(w.param.Name, "is %v, want %v", t.Shape, w.param.Shape())
			continue
		}
		v, err := t.Float32s()
		if err != nil {
			r.faults.Add(w.param.Name, "%v", err)
		}
		r.values[i] = v
	}
	for _, t := range left {
		r.faults.Add(t.name, "is not replaced in this run")
	}
}

// restore sets the layer to the values of c. If principal components were removed from the weight, c is the adapter
// for the whole weight: see [principal.plain].
func (l *layer) restore(c *change, enabled bool) {
	if l.principal != nil {
		c = l.principal.split(l, c, enabled)
	}
	copy(l.adapter.A.Float32s(), c.a)
	copy(l.adapter.B.Float32s(), c.b)
	if l.adapter.Magnitude != nil {
		copy(l.adapter.Magnitude.Float32s(), c.magnitude)
	}
}

// split is the inverse of plain. If the removed components in the file differ from the computed ones, the file's
// replace them.
func (p *principal) split(l *layer, c *change, enabled bool) *change {
	r := p.rank
	own, lost := &change{a: c.a[:len(p.a)], magnitude: c.magnitude}, change{a: c.a[len(p.a):]}
	for i := 0; i < len(c.b); i += 2 * r {
		own.b = append(own.b, c.b[i:i+r]...)
		for _, x := range c.b[i+r : i+2*r] {
			lost.b = append(lost.b, -x)
		}
	}
	if slices.Equal(lost.a, p.a) && slices.Equal(lost.b, p.b) {
		return own
	}
	if enabled {
		p.restore(l)
		defer p.remove(l)
	}
	p.a, p.b = slices.Clone(lost.a), lost.b
	return own
}
