package recipe

import (
	"context"
	"fmt"
	"slices"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/optim"
)

// Memory is what a run needs, in bytes.
type Memory struct{ trainer.Memory }

// Total includes what the program needs for itself.
func (m Memory) Total() int64 { return m.Memory.Total() + ownMemory }

// Program is what is in [Memory.Total] in addition to the four parts: the runtime, code, the kernels' buffers, and data.
func (m Memory) Program() int64 { return ownMemory }

// String lists where memory goes. The parts add up to the total.
func (m Memory) String() string {
	var parts []string
	for _, part := range []struct {
		name  string
		bytes int64
	}{{"weights", m.Weights}, {"gradients", m.Gradients}, {"optimiser", m.Optimizer}, {"activations", m.Activations}, {"the program and its buffers", m.Program()}} {
		if part.bytes > 0 {
			parts = append(parts, fmt.Sprintf("%s %v", part.name, format.Bytes(part.bytes)))
		}
	}
	return strings.Join(parts, ", ")
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

// estimate returns the memory of the run with a graph of the given capacity, without allocating it, for micro-batches of at
// most largest rows.
func (r *Run) estimate(rows, largest int) (Memory, error) {
	m := r.constantMemory()
	// One value for each row: with more than the limit there is no need to record the graph, which has arrays of that length.
	if perRow := int64(4 * r.Model.Config.HiddenSize); int64(rows) > r.Config.Limit()/perRow {
		m.Activations = saturated(int64(rows), perRow)
		return m, nil
	}
	g := ag.NewGraph(r.graphOptions(rows))
	var err error
	m.Activations, err = g.Estimate(r.Model.Loss(g))
	if c := r.Config.Train; c.SegmentTokens > 0 && c.SegmentStore == "memory" {
		m.Activations += saturated(int64(largest/rows), g.StateBytes())
	}
	return m, err
}

// saturated returns a·b of two counts, at most a number that is beyond any memory.
func saturated(a, b int64) int64 {
	const most = 1 << 60
	if b > 0 && a > most/b {
		return most
	}
	return a * b
}

// constantMemory returns the memory that is in use during the whole run.
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
	longest, largest := r.lengths()
	if r.Rows < longest && r.Config.Train.SegmentTokens == 0 {
		return fault.Fault{Path: "max_tokens", Problem: fmt.Sprintf("%d rows at once are too few: the longest document has %d tokens (data.max_length cuts or splits it)", r.Rows, longest)}
	}
	m, err := r.estimate(r.Rows, largest)
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
	if c.MemoryLimit > 0 && m.Program() > m.Memory.Total() {
		saving = "a run needs most of that whatever it trains: raise memory_limit"
	}
	return fault.Fault{Path: "memory", Problem: fmt.Sprintf("the run needs about %v and %s %v: %v; %s", format.Bytes(need), what, format.Bytes(c.Limit()), m, saving)}
}

// checkMemoryFor returns a fault if what a command does needs more memory than the machine, or a limit on this process,
// has. work says what needs it, saving what would need less.
func checkMemoryFor(work string, bytes int64, saving string) error {
	if limit := machineLimit(); bytes > limit {
		return fault.Fault{Path: "memory", Problem: fmt.Sprintf("%s needs about %v and the machine has %v; %s", work, format.Bytes(bytes), format.Bytes(limit), saving)}
	}
	return nil
}

// checkFootprint refuses a model that does not fit, with more bytes for what is loaded along with it.
func checkFootprint(sizes mamba.Config, o mamba.LoadOptions, more int64) error {
	bytes, largest, err := mamba.Footprint(sizes, o)
	if err != nil {
		return err
	}
	if (o.Precision == mamba.BF16 || o.Packed) && sizes.Blocks(o.Precision) == "" { // one at a time comes from another form
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
	const forms = 4 // as read, in float32, changed, as written
	return checkMemoryFor("the model's largest tensor", forms*largest+ownMemory, "check the sizes in its config.json")
}

// adapterBytes returns what an adapter takes in memory, where it is float32 whatever it is in its file; d may be nil.
func adapterBytes(d *lora.Directory) int64 {
	if d == nil {
		return 0
	}
	return 2 * d.Bytes()
}

// load reads a model if it fits into memory together with more bytes.
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

// saving names the settings that would make the run smaller.
func (r *Run) saving(longest int) string {
	switch c := r.Config.Train; {
	case c.SegmentTokens > 0 && c.SegmentStore == "memory":
		return "try train.segment_store: disk, or fewer train.segment_tokens"
	case c.SegmentTokens > 0:
		return "try fewer train.segment_tokens"
	case !r.Config.GradientCheckpointing:
		return "try gradient_checkpointing: true"
	case r.Rows > longest:
		return fmt.Sprintf("try max_tokens: %d", longest)
	}
	return fmt.Sprintf("try train.segment_tokens: 1024, or a data.max_length below %d", longest)
}

// ModelMemory returns about how many bytes [LoadModel] takes for a model, of which it reads the sizes only.
func ModelMemory(ctx context.Context, name, adapter string, o LoadOptions) (int64, error) {
	how := mamba.LoadOptions{Precision: o.Precision}
	var d *lora.Directory
	if adapter != "" {
		var err error
		if d, err = OpenAdapter(ctx, o.Hub, adapter); err != nil {
			return 0, err
		}
		defer d.Close()
		how.VocabSize = d.VocabSize
	}
	dir, err := modelOrBase(ctx, o.Hub, name, d)
	if err != nil {
		return 0, err
	}
	sizes, err := mamba.LoadConfig(dir)
	if err != nil {
		return 0, err
	}
	bytes, _, err := mamba.Footprint(sizes, how)
	return bytes + adapterBytes(d) + ownMemory, err
}
