package lora

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/nn"
)

// Adapter is an adapter that belongs to a model: low-rank branches in some of its slots, and parameters of the base that
// have values of their own beside it. While it is enabled, the model computes with it.
type Adapter struct {
	Config Config
	// Matches counts what each name of the configuration hit; empty for an adapter that was loaded.
	Matches []Match
	// Base is the fingerprint of the weights that the adapter was trained on, "" if nobody recorded it.
	Base string
	// Blocks names the types of blocks that the base's matrices were kept in meanwhile, "" for floating-point numbers.
	Blocks string
	// VocabSize is the number of rows that table and head have, where it is more than the base's files have; 0: those.
	VocabSize int

	model     nn.Module
	layers    []*layer
	overrides []*override
	starts    []start
	enabled   bool
}

// layer is one slot's adapter.
type layer struct {
	nn.Slot
	adapter   *nn.LowRank
	principal *principal // what InitPissa took out of the weight, nil otherwise
}

// override is a parameter that the adapter replaces.
type override struct {
	param     *ag.Param
	base, own *tensor.Dense // base while the adapter is enabled
	frozen    bool          // cannot be trained on, only used
}

// Untier is a model that can give its head a weight of its own.
type Untier interface {
	Untie()
}

// Inject puts fresh adapters into the slots of m that c selects, freezes the model and makes the adapters, and the
// parameters that c wants whole, trainable. r decides their start. The base's own values are kept: [Adapter.Disable]
// brings them back.
//
// A tied head is untied if the head or the table is to be saved whole, as PEFT does.
func Inject(m nn.Module, c Config, r *rand.Rand) (*Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("lora: config: %w", err)
	}
	if err := unadapted(m); err != nil {
		return nil, err
	}
	c = c.For(m)
	s, err := choose(m, c)
	if err != nil {
		return nil, err
	}
	if err := s.untie(m, c); err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, Matches: s.matches, model: m}
	strengths, err := c.strengths()
	if err != nil {
		return nil, fmt.Errorf("lora: config: %w", err)
	}
	for _, t := range s.targets {
		if form := frozenForm(t.Weight()); c.InitLoraWeights == InitPissa && t.Embedding == nil && form != "" {
			return nil, fmt.Errorf("lora: %s: init_lora_weights: pissa changes the weight, which must be float32 and is %s", t.Path, form)
		}
		rank, scale, err := strengths.of(t.Path, t.groups...)
		if err != nil {
			return nil, fmt.Errorf("lora: config: %w", err)
		}
		l := newLayer(t, c, rank, scale)
		l.initialize(c, r)
		a.layers = append(a.layers, l)
	}
	for _, p := range s.params {
		if of, _, ok := p.Quantized(); ok {
			return nil, fmt.Errorf("lora: %s: is quantized (%v) and cannot be trained whole; leave it out of modules_to_save, or load the base as float32 or bfloat16", p.Name, of)
		}
		a.overrides = append(a.overrides, &override{param: p, own: float32Copy(p)})
	}
	if c.InitialState {
		if a.starts, err = newStarts(m); err != nil {
			return nil, fmt.Errorf("lora: config: %w", err)
		}
	}
	for _, p := range m.Params() {
		p.Freeze()
	}
	if err := a.Enable(); err != nil {
		return nil, err
	}
	return a, a.Train()
}

// frozenForm names the form of a weight that cannot change, "" for float32.
func frozenForm(w *ag.Param) string {
	if of, _, ok := w.Quantized(); ok {
		return of.String()
	}
	if w.IsBF16() {
		return "bfloat16"
	}
	return ""
}

// unadapted says which adapter is enabled in m: another one has to begin from the base.
func unadapted(m nn.Module) error {
	for _, s := range m.Slots() {
		if s.LowRank() != nil {
			return fmt.Errorf("lora: %s: has an adapter already; disable it first", s.Path)
		}
	}
	if taken(m) {
		return errors.New("lora: the model has an initial state already")
	}
	return nil
}

// untie separates a tied head from the table if one of them is to become different from the other.
func (s *selection) untie(m nn.Module, c Config) error {
	head := tiedHead(m)
	if head.Linear == nil {
		return nil
	}
	table := head.Weight()
	saved := func(name string) bool {
		return slices.ContainsFunc(c.ModulesToSave, func(module string) bool { return isInModule(name, module) })
	}
	onHead, onTable := saved(head.Path+".weight"), saved(table.Name)
	// InitPissa takes a part out of the head's weight, which must not be missing in the table.
	changed := c.InitLoraWeights == InitPissa && slices.ContainsFunc(s.targets, func(t target) bool { return t.Path == head.Path })
	if !onHead && !onTable && !changed {
		return nil
	}
	if err := untie(m, head); err != nil {
		return err
	}
	if onHead {
		s.addParam(head.Weight())
	}
	return nil
}

// tiedHead returns the slot whose weight is another slot's, an empty slot if there is none.
func tiedHead(m nn.Module) nn.Slot {
	for _, s := range m.Slots() {
		if s.Linear != nil && s.Weight().Name != s.Path+".weight" {
			return s
		}
	}
	return nn.Slot{}
}

func untie(m nn.Module, head nn.Slot) error {
	u, ok := m.(Untier)
	if !ok {
		return fmt.Errorf("lora: %s: shares its weight with %s and has to be untied first", head.Path, head.Weight().Name)
	}
	u.Untie()
	return nil
}

// float32Copy returns p's value as float32 in memory of its own.
func float32Copy(p *ag.Param) *tensor.Dense {
	return tensor.New(tensor.WithShape(p.Shape()...), tensor.WithBacking(p.Float32Copy()))
}

// prefix stands before a parameter's name in a PEFT file.
const prefix = "base_model.model."

// sizes returns the width of what a target takes in and gives out.
func (t target) sizes() (in, out int) {
	w := t.Weight().Shape()
	switch {
	case t.Embedding != nil:
		return w[0], w[1]
	case t.to > 0:
		return w[1], t.to - t.from
	}
	return w[1], w[0]
}

// Shapes returns the shapes of what [Inject] would make for m: A, B and the magnitudes, and the parameters that are kept
// whole, a tied head aside. It allocates none of them.
func Shapes(m nn.Module, c Config) (shapes [][]int, err error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("lora: config: %w", err)
	}
	s, err := choose(m, c.For(m))
	if err != nil {
		return nil, err
	}
	strengths, err := c.strengths()
	if err != nil {
		return nil, fmt.Errorf("lora: config: %w", err)
	}
	for _, t := range s.targets {
		in, out := t.sizes()
		r, _, err := strengths.of(t.Path, t.groups...)
		if err != nil {
			return nil, fmt.Errorf("lora: config: %w", err)
		}
		shapes = append(shapes, []int{r, in}, []int{out, r})
		if c.UseDora {
			shapes = append(shapes, []int{out})
		}
	}
	for _, p := range s.params {
		shapes = append(shapes, p.Shape())
	}
	if c.InitialState {
		s, ok := m.(starter)
		if !ok {
			return nil, fault.Fault{Path: "initial_state", Problem: "the model has no states that documents start from"}
		}
		for _, place := range s.Starts() {
			shapes = append(shapes, place.Shape)
		}
	}
	return shapes, nil
}

// newLayer makes the adapter of a target with A, B and the magnitude zero.
func newLayer(t target, c Config, r int, scale float64) *layer {
	in, out := t.sizes()
	a := &nn.LowRank{Scale: scale, From: t.from, To: t.to}
	name := prefix + t.Path
	if t.Embedding != nil {
		a.A, a.B = ag.Zeros(name+".lora_embedding_A", r, in), ag.Zeros(name+".lora_embedding_B", out, r)
	} else {
		a.A, a.B = ag.Zeros(name+".lora_A.weight", r, in), ag.Zeros(name+".lora_B.weight", out, r)
		a.Dropout = c.LoraDropout
	}
	if c.UseDora {
		a.Magnitude = ag.Zeros(name+".lora_magnitude_vector", out)
	}
	return &layer{Slot: t.Slot, adapter: a}
}

// Enable puts the adapter into its model. Another one must have been disabled before. Graphs recorded earlier keep what
// they had.
func (a *Adapter) Enable() error {
	if a.enabled {
		return nil
	}
	if err := unadapted(a.model); err != nil {
		return err
	}
	for _, l := range a.layers {
		l.principal.remove(l)
		l.SetLowRank(l.adapter)
		l.adapter.Invalidate()
	}
	for _, w := range a.overrides {
		w.param.Unpack()
		w.base = w.param.Value
		w.set(w.own)
	}
	for _, s := range a.starts {
		*s.Param = s.own
	}
	a.enabled = true
	return nil
}

// Disable takes the adapter out of its model, which computes as the base again: bit for bit, except that a weight from
// which InitPissa took a part gets it back with the rounding of one float32 addition.
func (a *Adapter) Disable() {
	if !a.enabled {
		return
	}
	for _, l := range a.layers {
		l.SetLowRank(nil)
		l.principal.restore(l)
	}
	for _, w := range a.overrides {
		w.set(w.base)
	}
	for _, s := range a.starts {
		*s.Param = nil
	}
	a.enabled = false
}

// set exchanges the value. A gradient has the same shape and type for both and stays.
func (w *override) set(v *tensor.Dense) {
	w.param.Unpack()
	w.param.Value = v
	w.param.Invalidate()
}

// Invalidate drops what the model has derived from the values of the adapter's parameters. Call it when they have changed,
// after a training step for example, before the model computes without a graph.
func (a *Adapter) Invalidate() {
	for _, l := range a.layers {
		l.adapter.Invalidate()
	}
	for _, w := range a.overrides {
		if a.enabled {
			w.set(w.own)
		}
	}
}

// Train makes all of the adapter's parameters trainable. The base stays frozen.
func (a *Adapter) Train() error {
	for _, w := range a.overrides {
		if w.frozen {
			return fmt.Errorf("lora: %s: is changed by an adapter on a parameter, which can be used and merged but not trained on", w.param.Name)
		}
	}
	for _, p := range a.Params() {
		if err := p.Train(); err != nil {
			return err
		}
	}
	return nil
}

// Params lists what the adapter trains: A, B and magnitudes in checkpoint order, then the parameters trained whole, then the
// states that documents start from.
func (a *Adapter) Params() []*ag.Param {
	var ps []*ag.Param
	for _, l := range a.layers {
		ps = append(ps, l.adapter.Params()...)
	}
	for _, w := range a.overrides {
		ps = append(ps, w.param)
	}
	for _, s := range a.starts {
		ps = append(ps, s.own)
	}
	return ps
}

// Share returns the number of elements that the adapter trains and that of the model with it.
func (a *Adapter) Share() (trainable, all int) {
	for _, p := range a.model.Params() {
		all += p.Size()
	}
	for _, l := range a.layers {
		for _, p := range l.adapter.Params() {
			all += p.Size()
			trainable += p.Size()
		}
	}
	for _, w := range a.overrides {
		trainable += w.param.Size()
	}
	for _, s := range a.starts {
		all += s.Size()
		trainable += s.Size()
	}
	return trainable, all
}
