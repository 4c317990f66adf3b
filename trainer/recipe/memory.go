package recipe

import (
	"fmt"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/trainer"
	"mambatrain/trainer/optim"
)

// Memory is what a run needs, in bytes.
type Memory struct{ trainer.Memory }

// Total includes what the program needs for itself.
func (m Memory) Total() int64 { return m.Memory.Total() + ownMemory }

// String lists where memory goes.
func (m Memory) String() string {
	return fmt.Sprintf("weights %v, gradients %v, optimiser %v, activations %v",
		format.Bytes(m.Weights), format.Bytes(m.Gradients), format.Bytes(m.Optimizer), format.Bytes(m.Activations))
}

// usualRows is the number of rows beyond which matrix products gain nothing: larger micro-batches run in parts.
const usualRows = 2048

// ownMemory is what the program needs in addition to weights, gradients, optimiser and activations: the runtime, packing
// buffers of the kernels, and data.
const ownMemory = 64 << 20

// chooseRows picks how many rows are computed at once, for the data of the run.
func (r *Run) chooseRows() (int, error) {
	rows, _, err := r.fit(r.lengths())
	return rows, err
}

// fit picks how many rows are computed at once: all of the largest micro-batch, unless that is more than pays or than
// fits into memory; and never fewer than the longest document has.
func (r *Run) fit(longest, largest int) (int, Memory, error) {
	rows := min(largest, max(longest, usualRows))
	for {
		m, err := r.estimate(rows)
		if err != nil || rows == longest || m.Total() <= r.Config.Limit() {
			return rows, m, err
		}
		rows = max(longest, rows/2)
	}
}

// lengths returns the tokens of the longest document and a bound for the rows of the largest micro-batch.
func (r *Run) lengths() (longest, largest int) {
	for _, d := range r.datasets {
		longest = max(longest, d.Stats().Longest)
	}
	c := r.Config
	batch := max(c.Train.PerDeviceTrainBatchSize, 1)
	switch {
	case c.Data.CarryState: // documents of a micro-batch run one by one
		return longest, longest
	case c.Data.Packing && c.Data.MaxLength > 0:
		return longest, max(longest, batch*c.Data.MaxLength)
	case c.Data.Packing:
		return longest, batch * longest
	}
	lengths := r.Data.Lengths()
	slices.Sort(lengths)
	for _, n := range lengths[max(0, len(lengths)-batch):] {
		largest += n
	}
	return longest, max(longest, largest)
}

// estimate returns the memory of the run with a graph of the given capacity, without allocating it.
func (r *Run) estimate(rows int) (Memory, error) {
	g := ag.NewGraph(ag.Options{Rows: rows, Carry: r.Config.Data.CarryState})
	activations, err := g.Estimate(r.Model.Loss(g))
	m := r.constantMemory()
	m.Activations = activations
	return m, err
}

// constantMemory returns the memory that is in use during the whole run.
func (r *Run) constantMemory() Memory {
	m := Memory{trainer.Memory{Optimizer: optim.Bytes(r.Config.Train.Config, r.params())}}
	for _, p := range r.params() {
		bytes := int64(4 * p.Size())
		if p.IsBF16() {
			bytes /= 2
		}
		m.Weights += bytes
		if p.Trainable() {
			m.Gradients += bytes
		}
	}
	return m
}

// Limit is the memory that a run may use.
func (c *Config) Limit() int64 {
	if c.MemoryLimit > 0 {
		return int64(c.MemoryLimit)
	}
	return machineLimit()
}

// machineLimit is the memory that a run may use where no limit is set.
func machineLimit() int64 {
	if m := MachineMemory(); m > 0 {
		return m / 10 * 9
	}
	return 1 << 62
}

// checkMemory refuses a run that cannot fit.
func (r *Run) checkMemory() error {
	longest, _ := r.lengths()
	if r.Rows < longest {
		return fault.Fault{Path: "max_tokens", Problem: fmt.Sprintf("%d rows at once are too few: the longest document has %d tokens (data.max_length cuts or splits it)", r.Rows, longest)}
	}
	m, err := r.estimate(r.Rows)
	if err != nil {
		return err
	}
	return r.Config.refuse(m, r.saving(longest))
}

// refuse makes memory beyond the limit a fault that says how to make the run smaller.
func (c *Config) refuse(m Memory, saving string) error {
	need := m.Total()
	if need <= c.Limit() {
		return nil
	}
	what := "the machine has"
	if c.MemoryLimit > 0 {
		what = "memory_limit is"
	}
	return fault.Fault{Path: "memory", Problem: fmt.Sprintf("the run needs about %v and %s %v: %v; %s", format.Bytes(need), what, format.Bytes(c.Limit()), m, saving)}
}

// saving names the settings that would make the run smaller.
func (r *Run) saving(longest int) string {
	switch {
	case !r.Config.GradientCheckpointing:
		return "try gradient_checkpointing: true"
	case r.Rows > longest:
		return fmt.Sprintf("try max_tokens: %d", longest)
	}
	return fmt.Sprintf("try a data.max_length below %d", longest)
}
