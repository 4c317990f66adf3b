package recipe

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"mambatrain/data/hub"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// Merge is a set of adapters and their base, opened to be merged or to undo their merge.
type Merge struct {
	Base     string // directory
	config   mamba.Config
	rows     int             // rows of embedding and head; not the base's number if an adapter was trained with another
	files    *weights.Reader // files of the base
	tensors  *weights.Reader // the same, with that number of rows
	adapters []lora.Term
	tie      lora.Tie
}

// Share is an adapter directory and its factor in a merge, usually 1.
type Share struct {
	Adapter string
	Weight  float64
}

// OpenMerge opens adapters and a base by path or Hugging Face id; an empty base means the base of the first adapter.
// client may be nil.
func OpenMerge(ctx context.Context, client *hub.Client, base string, adapters ...Share) (*Merge, error) {
	m := &Merge{}
	if err := m.open(ctx, client, base, adapters); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Merge) open(ctx context.Context, client *hub.Client, base string, adapters []Share) (err error) {
	for _, a := range adapters {
		d, err := OpenAdapter(ctx, client, a.Adapter)
		if err != nil {
			return err
		}
		m.adapters = append(m.adapters, lora.Term{Directory: d, Weight: a.Weight})
	}
	if m.Base, err = modelOrBase(ctx, client, base, m.adapters[0].Directory); err != nil {
		return err
	}
	if m.config, err = mamba.LoadConfig(m.Base); err != nil {
		return err
	}
	if m.files, err = weights.Open(m.Base); err != nil {
		return err
	}
	if m.tensors, err = weights.Open(m.Base); err != nil {
		return err
	}
	if m.rows, err = m.vocabulary(); err != nil {
		return err
	}
	if err := resizeTables(m.tensors, m.config.VocabSize, m.rows); err != nil {
		return err
	}
	tied, err := m.isTied()
	if tied {
		m.tie = tiedHead
	}
	return err
}

// vocabulary returns the number of rows that the adapters were trained with, or else that of the base.
func (m *Merge) vocabulary() (int, error) {
	base := m.config.VocabSize
	rows := base
	for _, d := range m.adapters {
		n := d.Rows(base)
		if n < base {
			t, err := openTokenizer(m.adapters[0].Path, m.Base)
			if err != nil {
				return 0, err
			}
			n = rowsFor(base, d.Directory, t)
		}
		if n != base && (rows == base || n > rows) {
			rows = n
		}
	}
	return rows, nil
}

// isTied reports whether the head of the base is its embedding: config.json declares it and the files contain no
// different head.
func (m *Merge) isTied() (bool, error) {
	if !m.config.TieWordEmbeddings {
		return false, nil
	}
	head, ok := m.tensors.Tensor(tiedHead.Head)
	table, has := m.tensors.Tensor(tiedHead.Table)
	if !ok || !has {
		return true, nil
	}
	return weights.Equal(head, table)
}

var tiedHead = lora.Tie{Head: "lm_head.weight", Table: "backbone.embeddings.weight"}

// TieOf returns which tensors are tied in a model with this configuration.
func TieOf(c mamba.Config) lora.Tie {
	if !c.TieWordEmbeddings {
		return lora.Tie{}
	}
	return tiedHead
}

// Inputs returns the files of the base and the adapters; see [InputFiles].
func (m *Merge) Inputs() []string {
	paths := []string{m.Base}
	for _, d := range m.adapters {
		paths = append(paths, d.Path)
	}
	return InputFiles(paths...)
}

// Close closes the files.
func (m *Merge) Close() {
	for _, d := range m.adapters {
		d.Close()
	}
	for _, r := range []*weights.Reader{m.files, m.tensors} {
		if r != nil {
			r.Close()
		}
	}
}

// CheckBase returns a fault if an adapter was not trained on the base.
func (m *Merge) CheckBase() error {
	if !slices.ContainsFunc(m.adapters, func(d lora.Term) bool { return d.Base != "" }) {
		return nil
	}
	fingerprint, err := lora.Fingerprint(m.files)
	if err != nil {
		return err
	}
	for _, d := range m.adapters {
		if err := d.CheckBase(fingerprint); err != nil {
			return fault.Fault{Problem: err.Error()}
		}
	}
	return nil
}

// MergeReport is the result of a merge.
type MergeReport struct {
	Tensors    int
	Changed    int      // tensors that differ from the base's
	UntiedHead bool     // the head became a separate tensor
	Difference *float64 // largest difference between merged and adapted logits; nil for several adapters or a share other than 1
	TooLarge   bool     // the merged model does not fit in memory in float32 and was not compared with the adapted one
	// Quantization is the largest difference in logits that the type of a GGUF file adds or, without a Difference, the
	// largest difference between the file and the adapted model. It is nil for a directory, several adapters, or a
	// share other than 1.
	Quantization *float64
}

// Write writes the merged model to dir, reads it back, and compares its logits with those of the adapted model.
func (m *Merge) Write(ctx context.Context, dir string, o mamba.SaveOptions) (r MergeReport, err error) {
	want, err := m.adaptedLogits(ctx)
	if err != nil {
		return r, err
	}
	merged, err := lora.MergeFiles(m.tensors, m.options(o.DType), m.adapters...)
	if err != nil {
		return r, err
	}
	var notFinite []string
	watched := weights.Watch(until(ctx, merged.Entries), func(name string) { notFinite = append(notFinite, name) })
	if err := weights.SaveShards(dir, watched, nil, o.ShardBytes); err != nil {
		return r, err
	}
	if len(notFinite) > 0 {
		return r, fmt.Errorf("merge: %s; nothing was written", NotFinite(notFinite, len(watched)))
	}
	c := m.mergedConfig(merged)
	if o.DType != "" {
		c.DType = o.DType.TorchName()
	}
	if err := c.Save(dir); err != nil {
		return r, err
	}
	if err := CopyModelFiles(dir, m.adapters[0].Path, m.Base); err != nil {
		return r, err
	}
	r = MergeReport{Tensors: len(merged.Entries), Changed: len(merged.Changed), UntiedHead: merged.Untied}
	written, err := mamba.LoadConfig(dir) // unlike c, without the base's types of blocks
	if err != nil {
		return r, err
	}
	if r.TooLarge = checkFootprint(written, mamba.LoadOptions{}, 0) != nil; r.TooLarge {
		return r, nil
	}
	r.Difference, err = m.prove(ctx, dir, want)
	return r, err
}

// NotFinite returns a message that the named tensors, out of the given total, contain numbers that are not finite.
func NotFinite(names []string, of int) string {
	verb := "have"
	if len(names) == 1 {
		verb = "has"
	}
	return fmt.Sprintf("%d of %d tensors %s values that are not finite (NaN or infinity): %s", len(names), of, verb, format.Few(names))
}

func (m *Merge) options(dtype weights.DType) lora.MergeOptions {
	o := lora.MergeOptions{Tie: m.tie}
	if dtype != "" {
		o.DType = func(name string, shape []int, _ weights.DType) weights.DType { return storedAs(name, shape, dtype) }
	}
	return o
}

// storedAs returns the type of a tensor in a file of the given type: sensitive tensors stay float32.
func storedAs(name string, shape []int, dtype weights.DType) weights.DType {
	if len(shape) != 2 || strings.HasSuffix(name, ".A_log") {
		return weights.F32
	}
	return dtype
}

// adaptedLogits returns the probe logits of the adapted model, or nil for several adapters or a share other than 1. It
// also checks, before anything is written, that the base and the adapter fit in memory.
func (m *Merge) adaptedLogits(ctx context.Context) ([]float32, error) {
	model, adapter, err := m.adapt(ctx)
	if err != nil || adapter == nil {
		return nil, err
	}
	return m.probe(ctx, model)
}

// adapt loads the base and puts the adapter into it. The adapter is nil if there are several or its share is not 1.
func (m *Merge) adapt(ctx context.Context) (*mamba.Model, *lora.Adapter, error) {
	model, err := load(m.Base, mamba.LoadOptions{VocabSize: m.rows}, adapterBytes(m.adapters[0].Directory))
	if err != nil {
		return nil, nil, err
	}
	if len(m.adapters) > 1 || m.adapters[0].Weight != 1 {
		return model, nil, ctx.Err()
	}
	adapter, err := m.adapters[0].Load(model)
	if err != nil {
		return nil, nil, err
	}
	return model, adapter, adapter.Enable()
}

// probe returns a model's logits for a fixed sequence of tokens.
func (m *Merge) probe(ctx context.Context, model *mamba.Model) ([]float32, error) {
	ids := lora.ProbeIDs(m.rows, lora.ProbeTokens)
	out, err := model.Run(ctx, mamba.Input{IDs: [][]int{ids}}, mamba.Want{Logits: mamba.AllPositions})
	if err != nil {
		return nil, err
	}
	return out.Logits.Data, nil
}

// prove loads the merged model and returns the largest difference between its logits and want, or nil if want is nil.
func (m *Merge) prove(ctx context.Context, dir string, want []float32) (*float64, error) {
	model, err := load(dir, mamba.LoadOptions{}, 0)
	if err != nil || want == nil {
		return nil, err
	}
	got, err := m.probe(ctx, model)
	if err != nil {
		return nil, err
	}
	dtype, _ := weights.ParseDType(model.Config.DType)
	return m.compare(want, got, dtype)
}

// compare returns the largest difference between the logits of the merged model, written as dtype, and those of the
// adapted model. In float32, a difference that rounding does not explain is an error.
func (m *Merge) compare(want, got []float32, dtype weights.DType) (*float64, error) {
	d, err := lora.LargestDifference(want, got)
	if err != nil {
		return nil, err
	}
	largest := 0.0
	for _, x := range want {
		largest = max(largest, math.Abs(float64(x)))
	}
	if dtype == weights.F32 && !(d <= lora.ProbeLimit*max(1, largest)) {
		return nil, fmt.Errorf("merge: the logits of the merged model differ from the adapted model's by %.3g, which is more than rounding explains; nothing was written", d)
	}
	return &d, nil
}

// Undo writes the base's weights to dir, bit for bit, after checking that every tensor of the merged model is the
// result of applying the adapters to the base. The weights are split into files of at most shardBytes. It returns the
// number of tensors.
func (m *Merge) Undo(ctx context.Context, merged, dir string, shardBytes int64) (int, error) {
	if err := m.checkUnquantized(merged); err != nil {
		return 0, err
	}
	if err := CheckConversion(m.config); err != nil {
		return 0, err
	}
	t, err := weights.Open(merged)
	if err != nil {
		return 0, err
	}
	defer t.Close()
	list, err := lora.UnmergeFiles(ctx, t, m.tensors, m.tie, m.adapters...)
	if err != nil {
		return 0, err
	}
	for i, s := range list {
		x, _ := m.files.Tensor(s.Name)
		list[i] = weights.FromTensor(s.Name, x, x.DType)
	}
	if err := weights.SaveShards(dir, until(ctx, list), nil, shardBytes); err != nil {
		return 0, err
	}
	if err := m.config.Save(dir); err != nil {
		return 0, err
	}
	return len(list), CopyModelFiles(dir, m.Base, merged)
}

// until returns tensors whose writing stops when ctx is canceled.
func until(ctx context.Context, tensors []weights.Entry) []weights.Entry {
	list := slices.Clone(tensors)
	for i, s := range list {
		list[i].Values = func() (any, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return s.Values()
		}
	}
	return list
}
