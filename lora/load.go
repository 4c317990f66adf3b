package lora

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/fault"
	"mambatrain/nn"
	"mambatrain/nn/weights"
)

// Load loads the adapter in directory dir into m and enables it. The adapter is frozen; [Adapter.Train] makes it
// trainable.
func Load(dir string, m nn.Module) (*Adapter, error) {
	d, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	a, err := d.Load(m)
	if err != nil {
		return nil, err
	}
	return a, a.Enable()
}

// Load loads the adapter for m into memory without enabling it, so that a program can load several and switch between
// them. No adapter may be enabled during the call. All tensors that do not fit m are reported in one error.
func (d *Directory) Load(m nn.Module) (*Adapter, error) {
	if err := unadapted(m); err != nil {
		return nil, err
	}
	a := &Adapter{Config: d.Config, Base: d.Base, Blocks: d.Blocks, VocabSize: d.VocabSize, model: m}
	f := newFit(m, d)
	for i := range d.modules {
		f.module(&d.modules[i])
	}
	if err := f.params(); err != nil {
		return nil, err
	}
	if len(f.faults) > 0 {
		return nil, fmt.Errorf("lora: %s does not fit the model:\n  %s", d.Path, f.faults.Report())
	}
	if err := f.deficit(); err != nil {
		return nil, err
	}
	if err := f.untie(); err != nil {
		return nil, err
	}
	for _, t := range f.targets {
		l, err := d.layer(t.target, t.module)
		if err != nil {
			return nil, err
		}
		a.layers = append(a.layers, l)
	}
	sort.SliceStable(a.layers, func(i, j int) bool {
		return f.slotNames.find(a.layers[i].Path) < f.slotNames.find(a.layers[j].Path)
	})
	for _, w := range f.parameters {
		own, err := w.own()
		if err != nil {
			return nil, err
		}
		a.overrides = append(a.overrides, &override{param: w.param, own: own, frozen: w.module != nil, copied: w.copied})
	}
	var err error
	a.starts, err = d.loadStarts(m)
	return a, err
}

// ConfigFor returns settings with which [Inject] and [Shapes] create the parameters that Load creates for m. The
// adapter's own settings may name what m does not have, which Load and PEFT ignore, but Inject does not.
func (d *Directory) ConfigFor(m nn.Module) Config {
	c := d.Config
	c.TargetModules, c.ExcludeModules, c.LayersToTransform = Targets{}, Targets{}, nil
	c.TargetParameters, c.ModulesToSave, c.Bias = nil, nil, BiasNone
	c.RankPattern, c.AlphaPattern, c.InitLoraWeights = nil, nil, InitTrue
	f := newFit(m, d)
	for _, w := range d.modules {
		if w.parameter != "" {
			c.TargetParameters = append(c.TargetParameters, w.parameter)
			continue
		}
		path, parts := w.path, []string(nil)
		if i := f.slotNames.find(w.path); i >= 0 {
			path = f.slots[i].Path
			for _, g := range f.slots[i].Groups {
				if g.From >= w.from && g.To <= w.to {
					parts = append(parts, path+"."+g.Name)
				}
			}
		}
		if len(parts) == 0 {
			parts = []string{path}
		}
		c.TargetModules.Names = append(c.TargetModules.Names, parts...)
		if w.rank != c.R {
			c.RankPattern = append(c.RankPattern, PatternEntry[int]{path, w.rank})
		}
	}
	for _, w := range d.params {
		module, weight := strings.CutSuffix(w.name, ".weight")
		switch p := f.parameter(w.name); {
		case w.copied && !d.contents.trains(w.name):
		case weight && !w.copied && (endsIn(module, headPath) || endsIn(module, "embeddings")): // these untie the head
			c.ModulesToSave = append(c.ModulesToSave, module)
		case p != nil:
			c.TargetParameters = append(c.TargetParameters, p.Name)
		default:
			c.TargetParameters = append(c.TargetParameters, w.name)
		}
	}
	return c
}

// fit matches the tensors of a directory to a model.
type fit struct {
	m          nn.Module
	d          *Directory
	targets    []fitTarget
	parameters []fitParam
	heads      []fileParam // for a head that is still tied
	split      bool        // the head must be untied
	faults     fault.List

	slots                 []nn.Slot
	modelParams           []*ag.Param
	slotNames, paramNames names
	adapted               map[string]bool // paths of slots
	reported              map[string]bool // kinds already listed in an error
}

func newFit(m nn.Module, d *Directory) *fit {
	f := &fit{m: m, d: d, slots: m.Slots(), modelParams: m.Params(), adapted: map[string]bool{}, reported: map[string]bool{}}
	var paths, params []string
	for _, s := range f.slots {
		paths = append(paths, s.Path)
	}
	for _, p := range f.modelParams {
		params = append(params, p.Name)
	}
	f.slotNames, f.paramNames = indexed(paths), indexed(params)
	return f
}

// deficit returns an error if the directory lacks tensors that its settings require for the model.
func (f *fit) deficit() error {
	var paths, params []string
	for _, s := range f.slots {
		paths = append(paths, s.Path)
	}
	for _, p := range f.modelParams {
		params = append(params, p.Name)
	}
	if head := tiedHead(f.m); head.Linear != nil {
		params = append(params, head.Path+".weight")
	}
	return f.d.deficit(paths, params)
}

type fitTarget struct {
	target
	*module
}

// fitParam is a parameter that is replaced by a tensor or changed by a module.
type fitParam struct {
	param  *ag.Param
	tensor weights.Tensor
	copied bool
	module *module
}

func (f *fit) module(m *module) {
	if m.parameter != "" {
		f.onParameter(m)
		return
	}
	i := f.slotNames.find(m.path)
	if i < 0 {
		f.missing(m.path, "module", func() string { return describe(f.slots) })
		return
	}
	s, w := f.slots[i], f.slots[i].Weight().Shape()
	in, out := w[1], w[0]
	if s.Embedding != nil {
		in, out = w[0], w[1]
	}
	switch {
	case m.table != (s.Embedding != nil):
		f.faults.Add(m.path, "the adapter was made for another kind of layer")
	case m.a.Shape[1] != in || m.b.Shape[0] != out:
		f.faults.Add(m.path, "A is %v and B is %v, but the model's weight is %v", m.a.Shape, m.b.Shape, w)
	case f.adapted[s.Path]:
		f.faults.Add(m.path, "is adapted twice")
	default:
		f.adapted[s.Path] = true
		f.targets = append(f.targets, fitTarget{target{Slot: s, from: m.from, to: m.to}, m})
	}
}

// onParameter handles A and B for a parameter such as A_log: they are folded into it.
func (f *fit) onParameter(m *module) {
	p := f.parameter(m.parameter)
	if p == nil {
		f.faults.Add(m.parameter, "the model has no such parameter")
		return
	}
	if s := p.Shape(); len(s) != 2 || m.a.Shape[1] != s[1] || m.b.Shape[0] != s[0] {
		f.faults.Add(m.parameter, "A is %v and B is %v, but the model's parameter is %v", m.a.Shape, m.b.Shape, s)
		return
	}
	f.parameters = append(f.parameters, fitParam{param: p, module: m})
}

func (f *fit) parameter(name string) *ag.Param {
	if i := f.paramNames.find(name); i >= 0 {
		return f.modelParams[i]
	}
	return nil
}

// missing adds a fault for a missing module or parameter. The first fault of each kind lists what the model has.
func (f *fit) missing(name, what string, there func() string) {
	if f.reported[what] {
		f.faults.Add(name, "the model has no such %s", what)
		return
	}
	f.reported[what] = true
	f.faults.Add(name, "the model has no such %s; it has %s", what, there())
}

// params matches the tensors that replace parameters.
func (f *fit) params() error {
	head := tiedHead(f.m)
	for _, w := range f.d.params {
		p, tied := f.parameter(w.name), false
		if p == nil && head.Linear != nil && sameName(head.Path+".weight", w.name) {
			p, tied = head.Weight(), true
		}
		if p == nil {
			f.missing(w.name, "parameter", func() string { return parameterNames(f.modelParams) })
			continue
		}
		if !slices.Equal(p.Shape(), w.tensor.Shape) {
			f.faults.Add(w.name, "is %v, but the model's is %v", w.tensor.Shape, p.Shape())
			continue
		}
		if w.copied {
			same, err := equalValues(p, w.tensor)
			if err != nil {
				return err
			}
			if same {
				continue
			}
		}
		if tied {
			again, err := f.d.repeats(w, head.Weight().Name)
			if err != nil {
				return err
			}
			if again {
				continue
			}
		}
		if tied && !(w.copied && !f.d.has(head.Weight().Name)) {
			f.split = true
			f.heads = append(f.heads, w)
			continue
		}
		// A copy of the head alone is a copy of the weight that it shares with the table. A table that was trained as a
		// separate module does not change the head.
		if head.Linear != nil && p == head.Weight() && !w.copied {
			f.split = true
		}
		f.parameters = append(f.parameters, fitParam{param: p, tensor: w.tensor, copied: w.copied && !f.d.contents.trains(w.name)})
	}
	return nil
}

// equalValues reports whether a parameter equals a tensor, in the parameter's precision.
func equalValues(p *ag.Param, t weights.Tensor) (bool, error) {
	v, err := t.Float32s()
	if err != nil {
		return false, err
	}
	if of, _, ok := p.Quantized(); ok && of.Writable() {
		of.Dequantize(v, of.Encode(v))
	}
	if p.IsBF16() {
		bits := make([]uint16, len(v))
		kernel.ToBF16(bits, v)
		kernel.WidenBF16(v, bits)
	}
	return slices.Equal(v, p.Float32Copy()), nil
}

// untie unties a tied head if necessary, and gives it the weight in the file.
func (f *fit) untie() error {
	head := tiedHead(f.m)
	if pissaOnHead := slices.ContainsFunc(f.targets, func(t fitTarget) bool { return t.pissa && t.Path == head.Path }); head.Linear == nil || !f.split && !pissaOnHead {
		return nil
	}
	if err := untie(f.m, head); err != nil {
		return err
	}
	for _, w := range f.heads {
		f.parameters = append(f.parameters, fitParam{param: head.Weight(), tensor: w.tensor, copied: w.copied})
	}
	return nil
}

// own returns the new values of the parameter.
func (w fitParam) own() (*tensor.Dense, error) {
	own := float32Copy(w.param)
	v := own.Data().([]float32)
	if w.module == nil {
		return own, w.tensor.ReadFloat32s(v)
	}
	c, err := w.module.change()
	if err != nil {
		return nil, err
	}
	c.fold(v, own.Shape()[0], own.Shape()[1], 1)
	return own, nil
}

// layer reads a module into an adapter for a slot.
func (d *Directory) layer(t target, m *module) (*layer, error) {
	l := newLayer(t, d.Config, m.rank, m.scale)
	from, err := m.change()
	if err != nil {
		return nil, err
	}
	if m.pissa {
		// The components removed from the weight are the initial A and B, which the file does not contain. They are
		// recomputed, as in PEFT.
		if form := frozenForm(t.Weight()); form != "" {
			return nil, fmt.Errorf("lora: %s: the adapter changes the weight (init_lora_weights: pissa), which must be float32, not %s", t.Path, form)
		}
		l.principal = takePrincipal(l, exact, nil)
	}
	copy(l.adapter.A.Float32s(), from.a)
	copy(l.adapter.B.Float32s(), from.b)
	if l.adapter.Magnitude != nil {
		copy(l.adapter.Magnitude.Float32s(), from.magnitude)
	}
	return l, nil
}
