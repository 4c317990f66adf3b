package recipe

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/optim"
)

// Memory is the memory that a run needs, in bytes.
type Memory struct{ trainer.Memory }

// Total returns the total, including the memory of the program itself.
func (m Memory) Total() int64 { return m.Memory.Total() + ownMemory }

// Program returns the part of [Memory.Total] beyond the other four: the runtime, code, kernel buffers, and data.
func (m Memory) Program() int64 { return ownMemory }

// String returns a breakdown of the memory. The parts add up to the total.
func (m Memory) String() string {
	var parts []string
	for _, part := range []struct {
		name  string
		bytes int64
	}{{"weights", m.Weights}, {"gradients", m.Gradients}, {"optimizer", m.Optimizer}, {"activations", m.Activations}, {"the program and its buffers", m.Program()}} {
		if part.bytes > 0 {
			parts = append(parts, fmt.Sprintf("%s %v", part.name, format.Bytes(part.bytes)))
		}
	}
	return strings.Join(parts, ", ")
}

// usualRows is the number of rows beyond which matrix products gain no speed. Larger micro-batches run in parts.
const usualRows = 2048

// ownMemory is the memory the program needs besides weights, gradients, optimizer state, and activations: the runtime,
// packing buffers of the kernels, and data.
const ownMemory = 64 << 20

// chooseRows chooses how many rows to compute at once for the data of the run.
func (r *Run) chooseRows() (int, error) {
	rows, _, err := r.fit(r.lengths())
	return rows, err
}

// fit chooses how many rows to compute at once: all of the largest micro-batch, unless that exceeds the useful number
// of rows or the memory limit, but never fewer than in the longest document.
func (r *Run) fit(longest, largest int) (int, Memory, error) {
	if n := r.Config.Train.SegmentTokens; n > 0 {
		rows := min(largest, n)
		m, err := r.estimate(rows, largest)
		return rows, m, err
	}
	rows := min(largest, max(longest, usualRows))
	for {
		m, err := r.estimate(rows, largest)
		if err != nil || rows == longest || m.Total() <= r.Config.Limit() {
			return rows, m, err
		}
		rows = max(longest, rows/2)
	}
}

// lengths returns the number of tokens in the longest document and an upper bound on the rows of the largest
// micro-batch.
func (r *Run) lengths() (longest, largest int) {
	for _, d := range r.datasets {
		longest = max(longest, d.Stats().Longest)
	}
	c := r.Config
	batch := max(c.Train.PerDeviceTrainBatchSize, 1)
	switch {
	case c.Data.CarryState: // documents in a micro-batch run one by one
		return longest, longest
	case c.Data.Packing && c.Data.MaxLength > 0:
		return longest, max(longest, int(saturated(int64(batch), int64(c.Data.MaxLength))))
	case c.Data.Packing:
		return longest, int(saturated(int64(batch), int64(longest)))
	}
	lengths := r.Data.Lengths()
	slices.Sort(lengths)
	for _, n := range lengths[max(0, len(lengths)-batch):] {
		largest += n
	}
	return longest, max(longest, largest)
}

// estimate returns the memory of the run with a graph of the given capacity, without allocating it, for micro-batches
// of at most largest rows.
func (r *Run) estimate(rows, largest int) (Memory, error) {
	m := r.constantMemory()
	// If one value per row already exceeds the limit, there is no need to record the graph, whose arrays have that
	// length.
	if perRow := int64(4 * r.Model.Config.HiddenSize); int64(rows) > r.Config.Limit()/perRow {
		m.Activations = saturated(int64(rows), perRow)
		return m, nil
	}
	d, err := r.Config.device()
	if err != nil {
		d = nil // compile reports it
	}
	g, loss := record(r.Model.Loss, r.graphOptions(rows), d, func(error) {})
	m.Activations, err = g.Estimate(loss)
	if c := r.Config.Train; c.SegmentTokens > 0 && c.SegmentStore == "memory" {
		m.Activations += saturated(int64((largest-1)/rows+1), g.StateBytes()) // one after each segment
	}
	return m, err
}

// saturated returns the product of two counts, capped at a number beyond any memory size.
func saturated(a, b int64) int64 {
	const limit = 1 << 60
	if b > 0 && a > limit/b {
		return limit
	}
	return a * b
}

// constantMemory returns the memory in use during the whole run.
func (r *Run) constantMemory() Memory {
	m := Memory{trainer.Memory{Optimizer: optim.Bytes(r.Config.Train.Config, r.params())}}
	for _, p := range r.params() {
		bytes := int64(4 * p.Size())
		if _, blocks, ok := p.Quantized(); ok {
			bytes = int64(len(blocks))
		} else if p.IsBF16() {
			bytes /= 2
		}
		m.Weights += bytes
		if p.Trainable() {
			m.Gradients += bytes
		}
	}
	return m
}

// Limit returns the memory that a run may use.
func (c *Config) Limit() int64 {
	if c.MemoryLimit > 0 {
		return int64(c.MemoryLimit)
	}
	return machineLimit()
}

// machineLimit returns the memory that a run may use if no limit is set.
func machineLimit() int64 {
	if m := machineMemory(); m > 0 {
		return m / 10 * 9
	}
	return 1 << 62
}

// machineMemory is replaced in tests by that of a smaller machine.
var machineMemory = MachineMemory

// checkMemory returns a fault if the run cannot fit in memory.
func (r *Run) checkMemory() error {
	longest, largest := r.lengths()
	if r.Rows < longest && r.Config.Train.SegmentTokens == 0 {
		return fault.Fault{Path: "max_tokens", Problem: fmt.Sprintf("%d rows at once are too few: the longest document has %d tokens (data.max_length truncates or splits it)", r.Rows, longest)}
	}
	m, err := r.estimate(r.Rows, largest)
	if err != nil {
		return err
	}
	return r.Config.refuse(m, r.saving(longest))
}

// refuse returns a fault that suggests how to make the run smaller if m exceeds the limit.
func (c *Config) refuse(m Memory, saving string) error {
	need := m.Total()
	if need <= c.Limit() {
		return nil
	}
	what := "the machine has"
	if c.MemoryLimit > 0 {
		what = "memory_limit is"
	}
	if c.MemoryLimit > 0 && m.Program() > m.Memory.Total() {
		saving = "any run needs most of this: raise memory_limit"
	}
	return fault.Fault{Path: "memory", Problem: fmt.Sprintf("the run needs about %v, but %s %v: %v; %s", format.Bytes(need), what, format.Bytes(c.Limit()), m, saving)}
}

// checkMemoryFor returns a fault if a command needs more memory than the machine has or this process may use. work
// names what needs the memory; saving suggests what would need less.
func checkMemoryFor(work string, bytes int64, saving string) error {
	if limit := machineLimit(); bytes > limit {
		return fault.Fault{Path: "memory", Problem: fmt.Sprintf("%s needs about %v, but the machine has %v; %s", work, format.Bytes(bytes), format.Bytes(limit), saving)}
	}
	return nil
}

// checkFootprint returns a fault if a model does not fit in memory along with more bytes for what is loaded with it.
func checkFootprint(sizes mamba.Config, o mamba.LoadOptions, more int64) error {
	bytes, largest, err := mamba.Footprint(sizes, o)
	if err != nil {
		return err
	}
	if (o.Precision == mamba.BF16 || o.Packed) && sizes.Blocks(o.Precision) == "" { // one tensor at a time is converted
		bytes += largest
	}
	return checkMemoryFor("the model", bytes+more+ownMemory, "try "+narrower(o.Precision, "precision ")+"a smaller model")
}

// CheckConversion returns a fault if a model has tensors too large to be converted one at a time.
func CheckConversion(sizes mamba.Config) error {
	_, largest, err := mamba.Footprint(sizes, mamba.LoadOptions{})
	if err != nil {
		return err
	}
	const forms = 4 // as read, in float32, changed, and as written
	return checkMemoryFor("the model's largest tensor", forms*largest+ownMemory, "check the sizes in its config.json")
}

// adapterBytes returns the memory of an adapter, which is float32 in memory whatever its file type; d may be nil.
func adapterBytes(d *lora.Directory) int64 {
	if d == nil {
		return 0
	}
	return 2 * d.Bytes()
}

// load loads a model if it fits in memory together with more bytes.
func load(dir string, o mamba.LoadOptions, more int64) (*mamba.Model, error) {
	sizes, err := mamba.LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	if err := checkFootprint(sizes, o, more); err != nil {
		return nil, err
	}
	return mamba.Load(dir, o)
}

// saving suggests settings that would make the run smaller.
func (r *Run) saving(longest int) string {
	switch c := r.Config.Train; {
	case c.SegmentTokens > 0 && c.SegmentStore == "memory":
		return "try train.segment_store: disk, or a smaller train.segment_tokens"
	case c.SegmentTokens > 0:
		return "try a smaller train.segment_tokens"
	case !r.Config.GradientCheckpointing:
		return "try gradient_checkpointing: true"
	case r.Rows > longest:
		return fmt.Sprintf("try max_tokens: %d", longest)
	}
	return fmt.Sprintf("try train.segment_tokens: 1024, or a data.max_length below %d", longest)
}

// ModelMemory returns the approximate number of bytes that [LoadModel] needs for a model. It reads only the sizes of
// the model.
func ModelMemory(ctx context.Context, name, adapter string, o LoadOptions) (int64, error) {
	how := mamba.LoadOptions{Precision: o.Precision}
	var d *lora.Directory
	if adapter != "" {
		var err error
		if d, err = OpenAdapter(ctx, o.Hub, adapter); err != nil {
			return 0, err
		}
		defer d.Close()
	}
	dir, err := modelOrBase(ctx, o.Hub, name, d)
	if err != nil {
		return 0, err
	}
	sizes, err := mamba.LoadConfig(dir)
	if err != nil {
		return 0, err
	}
	how.VocabSize = rowsFor(sizes.VocabSize, d, nil)
	bytes, _, err := mamba.Footprint(sizes, how)
	return bytes + adapterBytes(d) + ownMemory, err
}
