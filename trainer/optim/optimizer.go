package optim

import (
	"fmt"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Optimizer updates parameters from their gradients and stores the optimizer state of each.
type Optimizer struct {
	rule   rule
	params []*ag.Param
	cells  []*cell
	steps  int

	resident *ag.Resident // nil: parameters and state are on the host
	decayed  []string
}

// rule is an update algorithm that works on one parameter at a time.
type rule interface {
	// memory returns the state tensors for a parameter of the given shape. They start as zeros.
	memory(shape []int) []memory
	// update updates w from g. It may overwrite g.
	update(c *cell, w, g []float32, h stepParams)
}

// stepParams contains the inputs of an update that are specific to the step.
type stepParams struct {
	rate, decay float64
	scale       float32 // factor for the gradient: below 1 if it is clipped
	step        int     // counts from 1
}

// cell is a parameter, or the part of it that this rank updates, and its state tensors in the order of rule.memory.
type cell struct {
	Extent
	rate, decay float64
	memory      []memory
}

// memory is a state tensor of a cell.
type memory struct {
	name  string // torch's name: exp_avg, momentum_buffer …
	shape []int
	data  []float32
}

// Extent is the elements [From, To) of a parameter.
type Extent struct {
	Param    *ag.Param
	From, To int
}

// FullExtent returns all elements of p.
func FullExtent(p *ag.Param) Extent { return Extent{p, 0, p.Size()} }

// size returns the number of elements.
func (e Extent) size() int { return e.To - e.From }

// Grad returns the gradients of the elements. They may be on a device, see [ag.Resident].
func (e Extent) Grad() []float32 {
	_, grad := e.Param.Trained()
	return grad[e.From:e.To]
}

// Value returns the values of the elements, which are where the gradients are.
func (e Extent) Value() []float32 {
	value, _ := e.Param.Trained()
	return value[e.From:e.To]
}

// grain is the number of elements that one thread updates at a time.
const grain = 1 << 14

// rules maps each value of optim to the constructor of its rule.
var rules = map[string]func(Config) rule{
	"adamw":     newAdamW,
	"sgd":       newSGD,
	"lion":      newLion,
	"adafactor": newAdafactor,
}

// names returns the values of optim.
func names() []string { return []string{"adamw", "sgd", "lion", "adafactor"} }

// New returns the optimizer selected by the settings, with zero state. Two parameters with the same name are an error, and so
// are frozen ones and those that are not float32.
func New(c Config, groups []Group) (*Optimizer, error) {
	return newOptimizer(c, groups, whole, onHost)
}

// NewPartial returns an optimizer that updates only the parts of parameters that owned returns.
func NewPartial(c Config, groups []Group, owned func(*ag.Param) []Extent) (*Optimizer, error) {
	return newOptimizer(c, groups, owned, onHost)
}

// NewResident returns an optimizer whose state is on the device, where it updates the parameters of r.
func NewResident(c Config, groups []Group, r *ag.Resident) (*Optimizer, error) {
	if !UpdatesOnDevice(c) {
		return nil, fmt.Errorf("optim: %s does not update parameters on a device", c.Optim)
	}
	o, err := newOptimizer(c, groups, whole, r.Make)
	if err == nil {
		o.resident = r
	}
	return o, err
}

// UpdatesOnDevice reports whether the optimizer selected by the settings can update parameters on a device.
func UpdatesOnDevice(c Config) bool { return c.Optim == "adamw" }

// whole returns all of p.
func whole(p *ag.Param) []Extent { return []Extent{FullExtent(p)} }

// onHost returns an array of n zeros on the host.
func onHost(n int) ([]float32, error) { return kernel.Make[float32](n), nil }

func newOptimizer(c Config, groups []Group, owned func(*ag.Param) []Extent, array func(n int) ([]float32, error)) (*Optimizer, error) {
	newRule, ok := rules[c.Optim]
	if !ok {
		return nil, fmt.Errorf("optim: unknown optimizer %q", c.Optim)
	}
	o, seen := &Optimizer{rule: newRule(c)}, map[string]bool{}
	for _, g := range groups {
		for _, p := range g.Params {
			if seen[p.Name] {
				return nil, fmt.Errorf("optim: two parameters are named %s", p.Name)
			}
			seen[p.Name] = true
			if !p.Trainable() {
				return nil, fmt.Errorf("optim: %s is frozen", p.Name)
			}
			if t := p.Value.Dtype(); t.Size() != 4 {
				return nil, fmt.Errorf("optim: %s: want a float32 parameter, got %v", p.Name, t)
			}
			o.params = append(o.params, p)
			if g.Decay != 0 {
				o.decayed = append(o.decayed, p.Name)
			}
			for _, part := range owned(p) {
				memory, err := allocate(part, o.rule, array)
				if err != nil {
					return nil, fmt.Errorf("optim: %s: %w", p.Name, err)
				}
				o.cells = append(o.cells, &cell{Extent: part, rate: g.Rate, decay: g.Decay, memory: memory})
			}
		}
	}
	return o, nil
}

// allocate returns the state tensors for a parameter or, if the rule works element by element, for a part of one.
func allocate(e Extent, r rule, array func(n int) ([]float32, error)) ([]memory, error) {
	shape := e.Param.Shape()
	if n := e.size(); n < e.Param.Size() {
		shape = []int{n}
	}
	ms := r.memory(shape)
	for i := range ms {
		var err error
		if ms[i].data, err = array(volume(ms[i].shape)); err != nil {
			return nil, err
		}
	}
	return ms, nil
}

func volume(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Bytes returns the size of the optimizer state for the trainable parameters in params.
func Bytes(c Config, params []*ag.Param) int64 {
	var shapes [][]int
	for _, p := range params {
		if p.Trainable() {
			shapes = append(shapes, p.Shape())
		}
	}
	return BytesOf(c, shapes)
}

// BytesOf is [Bytes] for trainable parameters of the given shapes.
func BytesOf(c Config, shapes [][]int) int64 {
	newRule, ok := rules[c.Optim]
	if !ok {
		return 0
	}
	r, n := newRule(c), 0
	for _, shape := range shapes {
		for _, m := range r.memory(shape) {
			n += volume(m.shape)
		}
	}
	return 4 * int64(n)
}

// Step updates every parameter at the given learning rate, using its gradient times scale. Gradients may be
// overwritten. If a parameter is not where the optimizer updates it, on the host or on a device, Step changes nothing
// and returns an error.
func (o *Optimizer) Step(rate, scale float64) error {
	for _, p := range o.params {
		if err := o.resident.Check(p); err != nil {
			return fmt.Errorf("optim: %w", err)
		}
	}
	o.steps++
	update := func() {
		for _, c := range o.cells {
			o.rule.update(c, c.Value(), c.Grad(), stepParams{rate * c.rate, c.decay, float32(scale), o.steps})
		}
	}
	if o.resident != nil {
		o.resident.Do(update)
		return nil
	}
	update()
	return nil
}

// Params returns the parameters in the order of their groups.
func (o *Optimizer) Params() []*ag.Param { return slices.Clone(o.params) }

// Steps returns the number of updates made.
func (o *Optimizer) Steps() int { return o.steps }

// SetSteps sets the number of updates made, for a run that resumes.
func (o *Optimizer) SetSteps(n int) { o.steps = n }

// Bytes returns the size of this rank's part of the state tensors.
func (o *Optimizer) Bytes() int64 {
	n := 0
	for _, c := range o.cells {
		for _, m := range c.memory {
			n += len(m.data)
		}
	}
	return 4 * int64(n)
}

// Tensor is a state tensor of a whole parameter, with the parts of it that are in this rank's memory.
type Tensor struct {
	Name  string // <parameter>.<state>, with torch's state names: exp_avg, momentum_buffer …
	Shape []int
	Param *ag.Param
	Parts []Part
}

// Part is a part of a tensor, starting at element From. Data is not a copy and may be on a device.
type Part struct {
	From     int
	Data     []float32
	resident *ag.Resident // nil: Data is on the host
}

// values returns the elements, a copy if they are on a device.
func (p Part) values() (x []float32, err error) {
	if p.resident == nil {
		return p.Data, nil
	}
	x = make([]float32, len(p.Data))
	p.resident.Do(func() { err = kernel.CurrentDevice().Download(x, p.Data) })
	return x, err
}

// Set copies x, which has the same length, to the elements.
func (p Part) Set(x []float32) {
	if p.resident == nil {
		copy(p.Data, x)
		return
	}
	p.resident.Do(func() { kernel.CurrentDevice().Upload(p.Data, x) })
}

// Tensors returns the state tensors of all parameters, in an order that is the same on all ranks.
func (o *Optimizer) Tensors() []Tensor {
	cells := map[*ag.Param][]*cell{}
	for _, c := range o.cells {
		cells[c.Param] = append(cells[c.Param], c)
	}
	var list []Tensor
	for _, p := range o.params {
		for i, m := range o.rule.memory(p.Shape()) {
			t := Tensor{Name: p.Name + "." + m.name, Shape: m.shape, Param: p}
			for _, c := range cells[p] {
				t.Parts = append(t.Parts, Part{c.From, c.memory[i].data, o.resident})
			}
			list = append(list, t)
		}
	}
	return list
}

// Size returns the number of elements of the whole tensor.
func (t Tensor) Size() int { return volume(t.Shape) }

// Values returns all elements if this rank has them in one part; otherwise it returns nil.
func (t Tensor) Values() ([]float32, error) {
	if len(t.Parts) == 1 && len(t.Parts[0].Data) == t.Size() {
		return t.Parts[0].values()
	}
	return nil, nil
}

// Decayed returns the sorted names of the parameters that weight decay applies to.
func (o *Optimizer) Decayed() []string { return slices.Sorted(slices.Values(o.decayed)) }
