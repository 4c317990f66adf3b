package recipe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"mambatrain/data/hub"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/optim"
)

// Estimate describes a run without its weights and data.
type Estimate struct {
	Parameters int
	Trainable  int
	Rows       int // computed at once
	Memory     Memory
}

// Estimate returns the parameters and memory of a run on a model of the given sizes. It assumes documents of maximum
// length, so the run itself needs at most that much.
func (c *Config) Estimate(sizes mamba.Config) (Estimate, error) {
	r, err := outline(c, sizes)
	if err != nil {
		return Estimate{}, err
	}
	e := Estimate{Rows: c.MaxTokens}
	e.Parameters, e.Trainable = r.size()
	if largest := c.MaxTokens; largest > 0 {
		if n := c.Train.SegmentTokens; n > 0 {
			e.Rows = min(n, largest)
		}
		e.Memory, err = r.estimate(e.Rows, largest)
	} else {
		e.Rows, e.Memory, err = r.fit(c.longest(), c.largest())
	}
	return e, err
}

// ForwardMemory returns the memory for computing the loss of the given number of rows without training.
func (c *Config) ForwardMemory(sizes mamba.Config, rows int) (Memory, error) {
	m, err := c.outlineModel(sizes)
	if err != nil {
		return Memory{}, err
	}
	r := &Run{Config: *c, Model: m}
	return r.estimate(rows, rows)
}

// Check returns a fault if a run or a step needs more memory than is available. saving suggests what would need less.
func (c *Config) Check(m Memory, saving string) error { return c.refuse(m, saving) }

// outline returns a run with its adapter and a model that has shapes but no values.
func outline(c *Config, sizes mamba.Config) (*Run, error) {
	r, err := outlineBase(c, sizes)
	if err != nil {
		return nil, err
	}
	l, err := c.adapter(r.Model)
	if l == nil || err != nil {
		return r, err
	}
	m, err := r.adapterMemory(*l)
	if err != nil {
		return nil, err
	}
	if limit := machineLimit(); m.Total() > limit { // initial values are drawn even for an outline
		return nil, fault.Fault{Path: "lora.r", Problem: fmt.Sprintf("the adapter alone takes %v, but the machine has %v", format.Bytes(m.Total()), format.Bytes(limit))}
	}
	r.Adapter, err = lora.Inject(r.Model, *l, rand.New(rand.NewPCG(0, 0)))
	return r, invalid(err)
}

// outlineModel returns a model that has shapes but no values.
func (c *Config) outlineModel(sizes mamba.Config) (*mamba.Model, error) {
	m, err := Outline(sizes, mamba.LoadOptions{Precision: mamba.Precision(c.Precision)})
	if err != nil {
		return nil, err
	}
	m.Checkpointing = c.GradientCheckpointing
	return m, nil
}

// Outline is [mamba.Outline], but returns a fault if a single tensor exceeds memory.
func Outline(sizes mamba.Config, o mamba.LoadOptions) (*mamba.Model, error) {
	_, largest, err := mamba.Footprint(sizes, o)
	if err != nil {
		return nil, err
	}
	if err := checkMemoryFor("the model's largest tensor", largest, "check the sizes in its config.json"); err != nil {
		return nil, err
	}
	return mamba.Outline(sizes, o)
}

// outlineBase is outline without an adapter.
func outlineBase(c *Config, sizes mamba.Config) (*Run, error) {
	m, err := c.outlineModel(sizes)
	if err != nil {
		return nil, err
	}
	r := &Run{Config: *c, Model: m}
	if c.LoRA != nil || c.Adapter != "" {
		return r, nil
	}
	for _, p := range m.Params() {
		p.Grad = p.Value // trainable, without allocating a gradient
	}
	return r, invalid(trainer.SelectTrainable(m.Params(), c.Train.Trainable))
}

// adapter returns settings for a new adapter like the one to train, or nil for full training.
func (c *Config) adapter(m *mamba.Model) (*lora.Config, error) {
	if c.Adapter == "" {
		return c.LoRA, nil
	}
	h := hub.New()
	h.Offline = true
	d, err := OpenAdapter(context.Background(), h, c.Adapter)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	l := d.ConfigFor(m)
	return &l, nil
}

// adapterMemory returns the memory of a new adapter.
func (r *Run) adapterMemory(l lora.Config) (trainer.Memory, error) {
	shapes, err := lora.Shapes(r.Model, l)
	if err != nil {
		return trainer.Memory{}, targetError(err, l.TargetModules, r.Model)
	}
	const float32Bytes = 4
	bytes := int64(0)
	for _, shape := range shapes {
		n := int64(float32Bytes)
		for _, dim := range shape {
			n *= int64(dim)
		}
		bytes += n
	}
	return trainer.Memory{Weights: bytes, Gradients: bytes, Optimizer: optim.BytesOf(r.Config.Train.Config, shapes)}, nil
}

// checkConstantMemory returns a fault if the run cannot fit regardless of its data. It is called before the base is
// read and an adapter is created.
func checkConstantMemory(c *Config, sizes mamba.Config) error {
	r, err := outlineBase(c, sizes)
	if err != nil {
		return err
	}
	m, saving := r.constantMemory(), "train an adapter (lora) or a smaller model"
	if c.LoRA != nil && c.Adapter == "" {
		a, err := r.adapterMemory(*c.LoRA)
		if err != nil {
			return err
		}
		saving = savingOf(mamba.Precision(c.Precision), m.Weights, a)
		m.Weights, m.Gradients, m.Optimizer = m.Weights+a.Weights, m.Gradients+a.Gradients, m.Optimizer+a.Optimizer
	}
	return c.refuse(m, saving)
}

// savingOf suggests how to reduce the larger of a base and an adapter.
func savingOf(precision mamba.Precision, base int64, adapter trainer.Memory) string {
	switch {
	case adapter.Total() > base:
		return "try a smaller lora.r"
	}
	return "try " + narrower(precision, "precision: ") + "a smaller model"
}

// narrower suggests forms of the weights that take less memory, phrased to precede other advice and with each form
// preceded by setting; "" if there are none.
func narrower(p mamba.Precision, setting string) string {
	switch p {
	case mamba.Q4:
		return ""
	case mamba.Q8:
		return setting + "q4 or "
	case mamba.BF16:
		return setting + "q8 or q4, or "
	}
	return setting + "bf16, q8, or q4, or "
}

// size returns the number of elements of all parameters and of the trainable ones.
func (r *Run) size() (all, trainable int) {
	for _, p := range r.params() {
		all += p.Size()
		if p.Trainable() {
			trainable += p.Size()
		}
	}
	return all, trainable
}

// longest returns the maximum number of tokens in a document.
func (c *Config) longest() int {
	if c.Data.MaxLength > 0 {
		return c.Data.MaxLength
	}
	return usualRows
}

// largest returns the maximum number of rows in a micro-batch.
func (c *Config) largest() int {
	if c.Data.CarryState {
		return c.longest()
	}
	return int(saturated(int64(c.longest()), int64(c.Train.PerDeviceTrainBatchSize)))
}

// Sizes returns the sizes of the model that a configuration names: from its directory, the local cache, or else its
// name, so that a run can be planned before its model is available.
func Sizes(model string) (mamba.Config, error) {
	if mamba.IsGGUF(model) || has(model, mamba.ConfigFile) {
		return mamba.LoadConfig(model)
	}
	if dir, ok := cachedModel(model); ok {
		return mamba.LoadConfig(dir)
	}
	if c, ok := mamba.PresetOf(model); ok {
		return c, nil
	}
	if _, err := os.Stat(model); errors.Is(err, os.ErrNotExist) {
		return mamba.Config{}, fault.NotFound("model %s: no such directory, not in the local cache, and its name is not a published size (%s)", model, strings.Join(mamba.Presets(), ", "))
	}
	return mamba.Config{}, fault.NotFound("model %s: no %s in it", filepath.Clean(model), mamba.ConfigFile)
}
