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

// Adapter is an adapter for a model: low-rank branches in some of its slots, and new values for some parameters of
// the base. While it is enabled, the model computes with it.
type Adapter struct {
	Config Config
	// Matches counts what each name in the configuration matched; empty for a loaded adapter.
	Matches []Match
	// Base is the fingerprint of the weights that the adapter was trained on; "" if not recorded.
	Base string
	// Blocks names the block types of the base's matrices during training; "" if they were not quantized.
	Blocks string
	// VocabSize is the number of rows of the table and the head if they are larger than in the base's files, or 0.
	VocabSize int

	model     nn.Module
	layers    []*layer
	overrides []*override
	starts    []start
	enabled   bool
	merged    bool // into the model, so that it has no parameters left
}

// layer is one slot's adapter.
type layer struct {
	nn.Slot
	adapter   *nn.LowRank
	principal *principal // what InitPissa removed from the weight; nil with other initializations
}

// override is a parameter whose value the adapter replaces.
type override struct {
	param     *ag.Param
	base, own *tensor.Dense // base is set while the adapter is enabled
	frozen    bool          // cannot be trained
	copied    bool          // PEFT's copy of the base's table or head, which is part of the base and is not trained
}

// Untier is implemented by models that can untie the head from the table.
type Untier interface {
	Untie()
}

// Inject adds new adapters to the slots of m that c selects, and freezes the model except for the adapters and the
// parameters that c trains in full. The initial values are drawn from r. The base's own values are kept, and
// [Adapter.Disable] restores them.
//
// Inject unties a tied head if the head or the table will be saved in full, as PEFT does.
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
			return nil, fmt.Errorf("lora: %s: init_lora_weights: pissa changes the weight, which must be float32, not %s", t.Path, form)
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
			return nil, fmt.Errorf("lora: %s is quantized (%v) and cannot be trained in full; remove it from modules_to_save, or load the base as float32 or bfloat16", p.Name, of)
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

// frozenForm names the form of a weight that cannot be changed, or "" for float32.
func frozenForm(w *ag.Param) string {
	if of, _, ok := w.Quantized(); ok {
		return of.String()
	}
	if w.IsBF16() {
		return "bfloat16"
	}
	return ""
}

// unadapted returns an error if m has an adapter enabled: a new one must start from the base.
func unadapted(m nn.Module) error {
	for _, s := range m.Slots() {
		if s.LowRank() != nil {
			return fmt.Errorf("lora: %s already has an adapter; disable it first", s.Path)
		}
	}
	if taken(m) {
		return errors.New("lora: the model already has an initial state")
	}
	return nil
}

// untie unties the head from the table if one of them will be changed independently.
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
	// InitPissa removes a part of the head's weight, which the table must keep.
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

// tiedHead returns the slot that shares another slot's weight, or the zero slot if there is none.
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
		return fmt.Errorf("lora: %s shares its weight with %s and must be untied first", head.Path, head.Weight().Name)
	}
	u.Untie()
	return nil
}

// float32Copy returns a copy of p's value as float32.
func float32Copy(p *ag.Param) *tensor.Dense {
	return tensor.New(tensor.WithShape(p.Shape()...), tensor.WithBacking(p.Float32Copy()))
}

// prefix precedes parameter names in a PEFT file.
const prefix = "base_model.model."

// sizes returns the input and output widths of a target.
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

// Shapes returns the shapes of the parameters that [Inject] would create for m: A, B, and the magnitudes, and the
// parameters trained in full, except a tied head. It allocates none of them.
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
			return nil, fault.Fault{Path: "initial_state", Problem: "the model has no trainable start states"}
		}
		for _, place := range s.Starts() {
			shapes = append(shapes, place.Shape)
		}
	}
	return shapes, nil
}

// newLayer returns an adapter for a target, with A, B, and the magnitude zero.
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

// Enable puts the adapter into its model. Any other adapter must be disabled first. Graphs recorded before are not
// affected.
func (a *Adapter) Enable() error {
	if a.enabled {
		return nil
	}
	if err := a.checkMerged("enable"); err != nil {
		return err
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

// Disable removes the adapter from its model, which then computes as the base does. The weights are restored bit for
// bit, except those that InitPissa reduced: their parts are added back, with the rounding of one float32 addition.
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

// set replaces the value. The gradient is kept: its shape and type are the same for both.
func (w *override) set(v *tensor.Dense) {
	w.param.Unpack()
	w.param.Value = v
	w.param.Invalidate()
}

// Invalidate drops what the model has derived from the adapter's parameters. Call it after these change, for example
// after a training step, and before the model computes without a graph.
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
	if err := a.checkMerged("train"); err != nil {
		return err
	}
	for _, w := range a.overrides {
		if w.frozen {
			return fmt.Errorf("lora: %s is changed by an adapter on a parameter, which can be used and merged but not trained further", w.param.Name)
		}
	}
	for _, p := range a.Params() {
		if err := p.Train(); err != nil {
			return err
		}
	}
	return nil
}

// Params lists the parameters that the adapter trains: A, B, and magnitudes in checkpoint order, then the parameters
// trained in full, then the states that documents start from.
func (a *Adapter) Params() []*ag.Param {
	var ps []*ag.Param
	for _, l := range a.layers {
		ps = append(ps, l.adapter.Params()...)
	}
	for _, w := range a.overrides {
		if !w.copied {
			ps = append(ps, w.param)
		}
	}
	for _, s := range a.starts {
		ps = append(ps, s.own)
	}
	return ps
}

// Share returns the number of elements that the adapter trains, and the total for the model including the adapter.
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
		if !w.copied {
			trainable += w.param.Size()
		}
	}
	for _, s := range a.starts {
		all += s.Size()
		trainable += s.Size()
	}
	return trainable, all
}
