package main

import (
	"fmt"
	"runtime/debug"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/trainer"
	"mambatrain/trainer/optim"
)

// usualRows is the number of rows beyond which matrix products gain nothing: larger micro-batches run in parts.
const usualRows = 2048

// ownMemory is what the program holds beside weights, gradients, optimiser and activations: the runtime, packing buffers
// of the kernels and data.
const ownMemory = 64 << 20

// chooseRows picks how many rows are computed at once, for the data that the job has.
func (j *job) chooseRows() (int, error) {
	rows, _, err := j.fit(j.lengths())
	return rows, err
}

// fit picks how many rows are computed at once: all of the largest micro-batch, unless that is more than pays or than
// fits into memory; and never fewer than the longest document has.
func (j *job) fit(longest, largest int) (int, trainer.Memories, error) {
	rows := min(largest, max(longest, usualRows))
	for {
		m, err := j.estimate(rows)
		if err != nil || rows == longest || m.Total()+ownMemory <= j.limit() {
			return rows, m, err
		}
		rows = max(longest, rows/2)
	}
}

// lengths returns the tokens of the longest document and a bound for the rows of the largest micro-batch.
func (j *job) lengths() (longest, largest int) {
	for _, d := range j.datasets {
		longest = max(longest, d.Stats().Longest)
	}
	c := j.config
	batch := max(c.Train.PerDeviceTrainBatchSize, 1)
	switch {
	case c.Data.CarryState: // documents of a micro-batch run one by one
		return longest, longest
	case c.Data.Packing && c.Data.MaxLength > 0:
		return longest, max(longest, batch*c.Data.MaxLength)
	case c.Data.Packing:
		return longest, batch * longest
	}
	lengths := j.train.Lengths()
	slices.Sort(lengths)
	for _, n := range lengths[max(0, len(lengths)-batch):] {
		largest += n
	}
	return longest, max(longest, largest)
}

// estimate returns the memory of the run with a graph of the given capacity, without allocating it.
func (j *job) estimate(rows int) (trainer.Memories, error) {
	g := ag.NewGraph(ag.Options{Rows: rows, Carry: j.config.Data.CarryState})
	activations, err := g.Estimate(j.model.Loss(g))
	m := j.standing()
	m.Activations = activations
	return m, err
}

// standing returns the memory of what lasts for the whole run.
func (j *job) standing() trainer.Memories {
	m := trainer.Memories{Optimizer: optim.Bytes(j.config.Train.Config, j.params())}
	for _, p := range j.params() {
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

// limit is the memory that the run may use.
func (j *job) limit() int64 {
	if j.config.MemoryLimit > 0 {
		return int64(j.config.MemoryLimit)
	}
	return machineLimit()
}

// machineLimit is the memory that a run may use where no limit is set.
func machineLimit() int64 {
	if m := machineMemory(); m > 0 {
		return m / 10 * 9
	}
	return 1 << 62
}

// checkMemory refuses a run that cannot fit.
func (j *job) checkMemory() error {
	longest, _ := j.lengths()
	if j.rows < longest {
		return misusef("max_tokens: %d rows at once are too few: the longest document has %d tokens (data.max_length cuts or splits it)", j.rows, longest)
	}
	m, err := j.estimate(j.rows)
	if err != nil {
		return err
	}
	return j.refuse(m, j.saving(longest))
}

// refuse makes memory beyond the limit an error of wrong use that says how the run would become smaller.
func (j *job) refuse(m trainer.Memories, saving string) error {
	need := m.Total() + ownMemory
	if need <= j.limit() {
		return nil
	}
	what := "the machine has"
	if j.config.MemoryLimit > 0 {
		what = "memory_limit is"
	}
	return misusef("memory: the run needs about %v and %s %v: %s; %s", byteSize(need), what, byteSize(j.limit()), parts(m), saving)
}

// parts lists where memory goes.
func parts(m trainer.Memories) string {
	return fmt.Sprintf("weights %v, gradients %v, optimiser %v, activations %v",
		byteSize(m.Weights), byteSize(m.Gradients), byteSize(m.Optimizer), byteSize(m.Activations))
}

// saving names the settings that would make the run smaller.
func (j *job) saving(longest int) string {
	switch {
	case !j.config.GradientCheckpointing:
		return "try gradient_checkpointing: true"
	case j.rows > longest:
		return fmt.Sprintf("try max_tokens: %d", longest)
	}
	return fmt.Sprintf("try a data.max_length below %d", longest)
}

// frugalGC is the garbage, in percent of what lives, that is collected at. Nearly all memory of a model lives for the
// whole run, so that collecting often costs little, while the usual 100 would let the memory double while weights are
// read and packed.
const frugalGC = 10

// beFrugal makes the process collect garbage early.
func beFrugal() { debug.SetGCPercent(frugalGC) }
