package trainer

import (
	"fmt"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Optimizer updates parameters from their gradients and keeps what it remembers about each.
type Optimizer struct {
	rule   rule
	params []*ag.Param
	cells  []*cell
	steps  int

	decayed []string
}

// rule is one algorithm, working on one parameter at a time.
type rule interface {
	// memory lists the tensors that are kept for a parameter of the given shape, all zero at the start.
	memory(shape []int) []Memory
	// update changes w. g may be overwritten.
	update(c *cell, w, g []float32, h hyper)
}

// hyper is what an update needs to know about its step.
type hyper struct {
	rate, decay float64
	scale       float32 // of the gradient: below 1 where it is clipped
	step        int     // counts from 1
}

// cell is a parameter, or the part of it that this rank updates, and what is remembered about it, in the order of
// rule.memory.
type cell struct {
	extent
	rate, decay float64
	memory      []Memory
}

// Memory is a tensor that an optimiser keeps beside a parameter.
type Memory struct {
	Name  string // <parameter>.<what>, with torch's words for what: exp_avg, momentum_buffer …
	Shape []int
	Data  []float32
}

// grain is how many elements of a tensor one thread updates at a time.
const grain = 1 << 14

// rules makes each value of optim from the settings.
var rules = map[string]func(Settings) rule{
	"adamw":     newAdamW,
	"sgd":       newSGD,
	"lion":      newLion,
	"adafactor": newAdafactor,
}

// OptimizerNames lists the values of optim.
func OptimizerNames() []string { return []string{"adamw", "sgd", "lion", "adafactor"} }

// NewOptimizer returns the optimiser that the settings ask for, with nothing remembered yet. A name that two parameters
// share is an error.
func NewOptimizer(s Settings, groups []Group) (*Optimizer, error) {
	return newOptimizer(s, groups, func(p *ag.Param) []extent { return []extent{{p, 0, p.Size()}} })
}

// newOptimizer returns an optimiser of the parts of parameters that owned returns.
func newOptimizer(s Settings, groups []Group, owned func(*ag.Param) []extent) (*Optimizer, error) {
	newRule, ok := rules[s.Optim]
	if !ok {
		return nil, fmt.Errorf("trainer: optimiser: %q is unknown", s.Optim)
	}
	o, seen := &Optimizer{rule: newRule(s)}, map[string]bool{}
	for _, g := range groups {
		for _, p := range g.Params {
			if seen[p.Name] {
				return nil, fmt.Errorf("trainer: optimiser: two parameters are named %s", p.Name)
			}
			seen[p.Name] = true
			o.params = append(o.params, p)
			if g.Decay != 0 {
				o.decayed = append(o.decayed, p.Name)
			}
			for _, part := range owned(p) {
				o.cells = append(o.cells, &cell{extent: part, rate: g.Rate, decay: g.Decay, memory: allocate(part, o.rule)})
			}
		}
	}
	return o, nil
}

// allocate returns the memory for a parameter or, with a rule that works element by element, for a part of it.
func allocate(s extent, r rule) []Memory {
	shape := s.param.Shape()
	if n := s.to - s.from; n < s.param.Size() {
		shape = []int{n}
	}
	ms := r.memory(shape)
	for i := range ms {
		ms[i].Name = s.param.Name + "." + ms[i].Name
		ms[i].Data = kernel.Make[float32](volume(ms[i].Shape))
	}
	return ms
}

func volume(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// OptimizerBytes is the memory that the optimiser of the settings takes for the trainable ones of params.
func OptimizerBytes(s Settings, params []*ag.Param) int64 {
	newRule, ok := rules[s.Optim]
	if !ok {
		return 0
	}
	r, n := newRule(s), 0
	for _, p := range params {
		if !p.Trainable() {
			continue
		}
		for _, m := range r.memory(p.Shape()) {
			n += volume(m.Shape)
		}
	}
	return 4 * int64(n)
}

// Step updates every parameter at the given learning rate from its gradient times scale. Gradients may be overwritten.
func (o *Optimizer) Step(rate, scale float64) {
	o.steps++
	for _, c := range o.cells {
		o.rule.update(c, c.value(), c.grad(), hyper{rate * c.rate, c.decay, float32(scale), o.steps})
	}
}

// Params lists the parameters in the order of their groups.
func (o *Optimizer) Params() []*ag.Param { return slices.Clone(o.params) }

// Steps counts the updates made.
func (o *Optimizer) Steps() int { return o.steps }

// Memory lists everything remembered on this rank. The data is the optimiser's own.
func (o *Optimizer) Memory() []Memory {
	var ms []Memory
	for _, c := range o.cells {
		ms = append(ms, c.memory...)
	}
	return ms
}

// remembered is a tensor about a whole parameter, and the parts of it that are kept here.
type remembered struct {
	Memory // without Data
	param  *ag.Param
	parts  []kept
}

// kept is a part that begins at an element of the whole.
type kept struct {
	from int
	data []float32
}

// remembered lists the tensors of all parameters in an order that is the same on all ranks.
func (o *Optimizer) remembered() []remembered {
	cells := map[*ag.Param][]*cell{}
	for _, c := range o.cells {
		cells[c.param] = append(cells[c.param], c)
	}
	var list []remembered
	for _, p := range o.params {
		for i, m := range o.rule.memory(p.Shape()) {
			r := remembered{Memory: Memory{Name: p.Name + "." + m.Name, Shape: m.Shape}, param: p}
			for _, c := range cells[p] {
				r.parts = append(r.parts, kept{c.from, c.memory[i].Data})
			}
			list = append(list, r)
		}
	}
	return list
}

// whole is the tensor's data if all of it is kept here, else nil.
func (r remembered) whole() []float32 {
	if n := volume(r.Shape); len(r.parts) == 1 && len(r.parts[0].data) == n {
		return r.parts[0].data
	}
	return nil
}

// Decayed lists the names of the parameters that weight decay applies to.
func (o *Optimizer) Decayed() []string { return slices.Sorted(slices.Values(o.decayed)) }
