package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer/recipe"
)

type mergeFlags struct {
	model    string
	adapters []string
	output   string
	dtype    string
	shard    string
	force    bool
}

func (a *app) mergeCommand() *cobra.Command {
	var f mergeFlags
	cmd := &cobra.Command{
		Use:   "merge",
		Short: "Fold adapters into their base model",
		Long: `Fold adapters into their base model and write a Hugging Face directory. Where an adapter changes the embedding table
of a model whose head is that table, the head becomes a tensor of its own, since the adapter changes the look-up only.
The merged model is read back, and its logits are compared with those of the adapted one.`,
		Example: `  mamba-train merge --adapter runs/quickstart --output runs/quickstart-merged
  mamba-train merge --model DIR --adapter runs/a=0.5 --adapter runs/b=0.5 --output runs/both --dtype bfloat16`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.merge(f) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.model, "model", "m", "", "base model; default: the adapter's")
	fl.StringArrayVar(&f.adapters, "adapter", nil, "adapter directory, with its share after =; may be repeated")
	fl.StringVarP(&f.output, "output", "o", "", "model directory to make")
	addWeightFlags(cmd, &f.dtype, &f.shard)
	fl.BoolVar(&f.force, "force", false, "replace files in the output directory, and merge into a base that the adapter was not trained on")
	cli.RequireFlags(cmd, "adapter", "output")
	return cmd
}

// addWeightFlags adds what commands share that write a model's weights.
func addWeightFlags(cmd *cobra.Command, dtype, shard *string) {
	cmd.Flags().StringVar(dtype, "dtype", "", "float32, bfloat16 or float16; default: the model's own")
	cmd.Flags().StringVar(shard, "max-shard-size", "5GB", "cut the weights into files of at most this size")
}

// saveOptions reads the flags of addWeightFlags.
func saveOptions(dtype, shard string) (o mamba.SaveOptions, err error) {
	if dtype != "" {
		if o.DType, err = weights.ParseDType(dtype); err != nil {
			return o, cli.Misusef("--dtype must be float32, bfloat16 or float16, got %q", dtype)
		}
	}
	size, err := recipe.ParseBytes(shard)
	if err != nil || size == 0 {
		return o, cli.Misusef("--max-shard-size: want a size such as 5GB, got %q", shard)
	}
	o.ShardBytes = int64(size)
	return o, nil
}

// mergeResult is what merge prints with --json.
type mergeResult struct {
	Output     string      `json:"output"`
	Tensors    int         `json:"tensors"`
	Changed    int         `json:"changed"`
	UntiedHead bool        `json:"untied_head"`
	MaxDiff    *cli.Finite `json:"max_abs_logit_diff"` // null for several adapters or a share other than 1
}

// merger is a merge that is being put together.
type merger struct {
	base     string
	config   mamba.Config
	tensors  *weights.Reader
	adapters []lora.Term
	options  mamba.SaveOptions
	tied     bool
	probe    []int
	logits   []float32 // of the adapted model for the probe; nil where it cannot be computed
}

func (a *app) merge(f mergeFlags) error {
	o, err := saveOptions(f.dtype, f.shard)
	if err != nil {
		return err
	}
	if err := cli.CheckOutput(f.output, cli.PolicyOf(f.force)); err != nil {
		return err
	}
	ctx, stop := cli.Interruptible()
	defer stop()
	m := &merger{options: o}
	defer m.close()
	if err := m.open(ctx, a, f); err != nil {
		return cli.Signalled(ctx, err)
	}
	if m.tied, err = isTied(m); err != nil {
		return err
	}
	if err := m.checkBase(f.force); err != nil {
		return err
	}
	if err := m.runAdapted(ctx); err != nil {
		return cli.Signalled(ctx, err)
	}
	var r mergeResult
	err = cli.Stage(ctx, f.output, cli.PolicyOf(f.force), func(tmp string) (err error) {
		r, err = m.write(ctx, tmp)
		return err
	})
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	r.Output = f.output
	return a.Result(r, r.text())
}

// open opens the base and the adapters.
func (m *merger) open(ctx context.Context, a *app, f mergeFlags) (err error) {
	for _, arg := range f.adapters {
		dir, share, err := splitShare(arg)
		if err != nil {
			return err
		}
		d, err := recipe.OpenAdapter(dir)
		if err != nil {
			return err
		}
		m.adapters = append(m.adapters, lora.Term{Directory: d, Weight: share})
	}
	name := f.model
	if name == "" {
		if name = m.adapters[0].BaseModel; name == "" {
			return cli.Misusef("adapter %s does not say what its base is: name it with --model", m.adapters[0].Path)
		}
	}
	if m.base, err = a.modelDirectory(ctx, name); err != nil {
		return err
	}
	if m.config, err = mamba.LoadConfig(m.base); err != nil {
		return err
	}
	m.tensors, err = weights.Open(m.base)
	return err
}

// splitShare reads DIR or DIR=share.
func splitShare(arg string) (dir string, share float64, err error) {
	i := strings.LastIndexByte(arg, '=')
	if i < 0 {
		return arg, 1, nil
	}
	share, err = strconv.ParseFloat(arg[i+1:], 64)
	if err != nil || math.IsNaN(share) || math.IsInf(share, 0) {
		return "", 0, cli.Misusef("--adapter %s: want a number after =, got %q", arg, arg[i+1:])
	}
	return arg[:i], share, nil
}

// checkBase refuses a base that an adapter was not trained on.
func (m *merger) checkBase(force bool) error {
	if force {
		return nil
	}
	recorded := false
	for _, d := range m.adapters {
		recorded = recorded || d.Base != ""
	}
	if !recorded {
		return nil
	}
	fingerprint, err := lora.Fingerprint(m.tensors)
	if err != nil {
		return err
	}
	for _, d := range m.adapters {
		if err := d.CheckBase(fingerprint); err != nil {
			return cli.Misusef("%v; --force merges nevertheless", err)
		}
	}
	return nil
}

// runAdapted computes the logits of the adapted model for a probe, the proof that the merged one has to pass. It also
// checks that base and adapter fit before anything is written.
func (m *merger) runAdapted(ctx context.Context) error {
	model, err := mamba.Load(m.base, mamba.LoadOptions{})
	if err != nil {
		return err
	}
	m.probe = lora.ProbeIDs(m.config.VocabSize, lora.ProbeTokens)
	if len(m.adapters) > 1 || m.adapters[0].Weight != 1 {
		return nil
	}
	adapted, err := m.adapters[0].Load(model)
	if err != nil {
		return err
	}
	if err := adapted.Enable(); err != nil {
		return err
	}
	m.logits, err = logits(ctx, model, m.probe)
	return err
}

func logits(ctx context.Context, model *mamba.Model, ids []int) ([]float32, error) {
	out, err := model.Run(ctx, mamba.Input{IDs: [][]int{ids}}, mamba.Want{Logits: mamba.AllPositions})
	if err != nil {
		return nil, err
	}
	return out.Logits.Data, nil
}

// write writes the merged model into dir, reads it back and compares.
func (m *merger) write(ctx context.Context, dir string) (r mergeResult, err error) {
	o := lora.MergeOptions{}
	if m.tied {
		o.Tie = tiedHead
	}
	if m.options.DType != "" {
		o.DType = func(name string, shape []int, own weights.DType) weights.DType {
			return storedAs(name, shape, m.options.DType)
		}
	}
	merged, err := lora.MergeFiles(m.tensors, o, m.adapters...)
	if err != nil {
		return r, err
	}
	if err := weights.SaveShards(dir, until(ctx, merged.Entries), nil, m.options.ShardBytes); err != nil {
		return r, err
	}
	c := m.config
	c.TieWordEmbeddings = m.tied && !merged.Untied
	if m.options.DType != "" {
		c.DType = m.options.DType.TorchName()
	}
	if err := c.Save(dir); err != nil {
		return r, err
	}
	if err := recipe.CopyModelFiles(dir, m.adapters[0].Path, m.base); err != nil {
		return r, err
	}
	r = mergeResult{Tensors: len(merged.Entries), Changed: len(merged.Changed), UntiedHead: merged.Untied}
	return r, m.prove(ctx, dir, &r)
}

// storedAs is the type of a tensor in a file of the given type: what is sensitive stays float32.
func storedAs(name string, shape []int, dtype weights.DType) weights.DType {
	if len(shape) != 2 || strings.HasSuffix(name, ".A_log") {
		return weights.F32
	}
	return dtype
}

// prove compares the merged model with the adapted one.
func (m *merger) prove(ctx context.Context, dir string, r *mergeResult) error {
	model, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		return err
	}
	if m.logits == nil {
		return nil
	}
	got, err := logits(ctx, model, m.probe)
	if err != nil {
		return err
	}
	d, err := lora.LargestDifference(m.logits, got)
	if err != nil {
		return err
	}
	diff := cli.Finite(d)
	r.MaxDiff = &diff
	largest := 0.0
	for _, x := range m.logits {
		largest = max(largest, math.Abs(float64(x)))
	}
	if dtype, err := weights.ParseDType(model.Config.DType); err == nil && dtype == weights.F32 && !(d <= lora.ProbeLimit*max(1, largest)) {
		return fmt.Errorf("merge: the merged model's logits differ from the adapted one's by %.3g, which rounding does not explain; nothing was written", d)
	}
	return nil
}

func (m *merger) close() {
	for _, d := range m.adapters {
		d.Close()
	}
	if m.tensors != nil {
		m.tensors.Close()
	}
}

func (r mergeResult) text() string {
	text := fmt.Sprintf("wrote %s: %d tensors, %d of them changed", r.Output, r.Tensors, r.Changed)
	if r.UntiedHead {
		text += "\nthe head is a tensor of its own now (tie_word_embeddings: false)"
	}
	if r.MaxDiff != nil {
		text += fmt.Sprintf("\nlogits of the merged and the adapted model differ by at most %.2g", *r.MaxDiff)
	}
	return text + fmt.Sprintf("\nnext: mamba-train generate --model %s --prompt TEXT", r.Output)
}

// until makes the writing of tensors stop where ctx ends.
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
