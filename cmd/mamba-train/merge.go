package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer/recipe"
)

type mergeFlags struct {
	model    string
	adapters []string
	output   string
	dtype    string
	ggufType string
	shard    string
	force    bool
}

func (a *app) mergeCommand() *cobra.Command {
	var f mergeFlags
	cmd := &cobra.Command{
		Use:   "merge",
		Short: "Fold adapters into their base model",
		Long: `Fold adapters into their base model and write a Hugging Face directory. If an adapter changes the embedding table of a
model with tied embeddings, the head becomes a separate tensor, because the adapter changes only the lookup.
The merged model is read back, and its logits are compared with those of the base model with the adapters.`,
		Example: `  mamba-train merge --adapter runs/quickstart --output runs/quickstart-merged
  mamba-train merge --adapter runs/quickstart --output runs/quickstart-merged.gguf --type Q8_0
  mamba-train merge --model DIR --adapter runs/a=0.5 --adapter runs/b=0.5 --output runs/both --dtype bfloat16`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return a.merge(f)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.model, "model", "m", "", "base model; default: the adapter's")
	addAdapters(cmd, &f.adapters)
	fl.StringVarP(&f.output, "output", "o", "", "model directory to write")
	addWeightFlags(cmd, &f.dtype, &f.shard)
	fl.StringVar(&f.ggufType, "type", "", "write a GGUF file of this type instead of a directory; this quantizes the tensors that the adapters change: "+strings.Join(mamba.GGUFTypes(), ", "))
	fl.BoolVar(&f.force, "force", false, "replace files in the output directory, and allow a base model that the adapter was not trained on")
	cli.RequireFlags(cmd, "adapter", "output")
	return cmd
}

// check rejects flags that do not apply to the output format.
func (f mergeFlags) check(cmd *cobra.Command) error {
	if f.ggufType == "" {
		if mamba.IsGGUF(f.output) {
			return cli.Misusef("--output %s: a GGUF file needs a type, such as --type Q8_0; without one, the output is a directory", f.output)
		}
		return nil
	}
	for _, name := range []string{"dtype", "max-shard-size"} {
		if cmd.Flags().Changed(name) {
			return cli.Misusef("--%s cannot be used with --type, which writes a GGUF file", name)
		}
	}
	if !mamba.IsGGUF(f.output) {
		return cli.Misusef("--output %s: with --type, want a file name that ends in .gguf", f.output)
	}
	return cli.Misuse(f.gguf().Type.Validate())
}

// gguf returns the options for writing a GGUF file.
func (f mergeFlags) gguf() mamba.GGUFOptions {
	return mamba.GGUFOptions{Type: mamba.GGUFType(strings.ToUpper(f.ggufType)), Name: strings.TrimSuffix(filepath.Base(f.output), ".gguf")}
}

// addAdapters defines --adapter for merge and unmerge, whose values [splitShare] parses.
func addAdapters(cmd *cobra.Command, adapters *[]string) {
	cmd.Flags().StringArrayVar(adapters, "adapter", nil, "adapter directory, optionally followed by =WEIGHT; may be repeated")
}

// addWeightFlags defines the flags of the commands that write weights in another type or shard size.
func addWeightFlags(cmd *cobra.Command, dtype, shard *string) {
	cmd.Flags().StringVar(dtype, "dtype", "", "float32, bfloat16, or float16; default: the model's own")
	addShardFlag(cmd, shard)
}

// addShardFlag defines --max-shard-size.
func addShardFlag(cmd *cobra.Command, shard *string) {
	cmd.Flags().StringVar(shard, "max-shard-size", "5GB", "split the weights into files of at most this size")
}

// saveOptions parses the flags of addWeightFlags.
func saveOptions(dtype, shard string) (o mamba.SaveOptions, err error) {
	if dtype != "" {
		if o.DType, err = weights.ParseDType(dtype); err != nil {
			return o, cli.Misusef("--dtype must be float32, bfloat16, or float16, got %q", dtype)
		}
	}
	o.ShardBytes, err = shardBytes(shard)
	return o, err
}

// shardBytes parses the flag of addShardFlag.
func shardBytes(shard string) (int64, error) {
	size, err := format.ParseBytes(shard)
	if err != nil || size == 0 {
		return 0, cli.Misusef("--max-shard-size: want a size such as 5GB, got %q", shard)
	}
	return int64(size), nil
}

// mergeResult is the output of merge --json.
type mergeResult struct {
	Output     string      `json:"output"`
	Tensors    int         `json:"tensors"`
	Changed    int         `json:"changed"`
	UntiedHead bool        `json:"untied_head"`
	MaxDiff    *cli.Finite `json:"max_abs_logit_diff"` // null if there are several adapters or a share other than 1
	Quantized  *cli.Finite `json:"quantization_abs_logit_diff,omitempty"`
}

func (a *app) merge(f mergeFlags) error {
	o, err := saveOptions(f.dtype, f.shard)
	if err != nil {
		return err
	}
	checkOutput := cli.CheckOutput
	if f.ggufType != "" {
		checkOutput = cli.CheckFile
	}
	if err := checkOutput(f.output, cli.Policy(f.force)); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	collectEarly()
	m, err := a.openMerge(ctx, f.model, f.adapters)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	defer m.Close()
	if err := checkOutput(f.output, cli.Policy(f.force), m.Inputs()...); err != nil {
		return err
	}
	if !f.force {
		if err := m.CheckBase(); err != nil {
			return fmt.Errorf("%w; use --force to merge anyway", err)
		}
	}
	a.Wait("writing %s, and comparing the logits", f.output)
	var r recipe.MergeReport
	if f.ggufType != "" {
		err = cli.StageFile(ctx, f.output, func(tmp string) (err error) {
			gguf := f.gguf()
			gguf.Note = func(note string) { a.Warn("%s", note) }
			r, err = m.WriteGGUF(ctx, tmp, gguf, func(dir string, o *mamba.GGUFOptions) error { return a.describeTokenizer(ctx, dir, o) })
			return err
		})
	} else {
		err = cli.Stage(ctx, f.output, cli.Policy(f.force), func(tmp string) (err error) {
			r, err = m.Write(ctx, tmp, o)
			return err
		})
	}
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	result := mergeResult{f.output, r.Tensors, r.Changed, r.UntiedHead, (*cli.Finite)(r.Difference), (*cli.Finite)(r.Quantization)}
	if err := a.Result(result, result.text()); err != nil {
		return err
	}
	if r.TooLarge {
		a.Warn("the merged model does not fit into memory in float32, so its logits were not compared with the adapted model's")
	}
	a.Suggest(nextForModel(result.Output)...)
	return nil
}

// nextForModel returns the command to suggest after a model has been written.
func nextForModel(dir string) []string {
	next := []string{"generate", "--model", dir}
	switch t, err := tokenizer.Load(dir); {
	case err != nil:
		return append(next, "--prompt-ids", "1,2,3")
	case t.ChatTemplateText() != "":
		return append(next, "--chat")
	}
	return append(next, "--prompt", "TEXT")
}

// openMerge opens a base model and adapters, each given with its share.
func (a *app) openMerge(ctx context.Context, base string, adapters []string) (*recipe.Merge, error) {
	shares := make([]recipe.Share, len(adapters))
	for i, arg := range adapters {
		var err error
		if shares[i].Adapter, shares[i].Weight, err = splitShare(arg); err != nil {
			return nil, err
		}
	}
	return recipe.OpenMerge(ctx, a.hub(), base, shares...)
}

// splitShare parses DIR or DIR=share. The name of a directory may contain "=".
func splitShare(arg string) (dir string, share float64, err error) {
	i := strings.LastIndexByte(arg, '=')
	if _, err := os.Stat(arg); i < 0 || err == nil {
		return arg, 1, nil
	}
	share, err = strconv.ParseFloat(arg[i+1:], 64)
	if err != nil || math.IsNaN(share) || math.IsInf(share, 0) {
		return "", 0, cli.Misusef("--adapter %s: no such directory; for a weight of %s, want a number after =, got %q", arg, arg[:i], arg[i+1:])
	}
	return arg[:i], share, nil
}

func (r mergeResult) text() string {
	text := fmt.Sprintf("wrote %s: %s, %d of them changed", r.Output, format.Counted(r.Tensors, "tensor"), r.Changed)
	if r.UntiedHead {
		text += "\nthe head is now a separate tensor (tie_word_embeddings: false)"
	}
	if r.MaxDiff != nil {
		text += fmt.Sprintf("\nlogits of the merged and adapted models differ by at most %.2g", *r.MaxDiff)
	}
	switch {
	case r.Quantized == nil:
	case r.MaxDiff == nil:
		text += fmt.Sprintf("\nlogits of the file and the adapted model differ by at most %.2g", *r.Quantized)
	default:
		text += fmt.Sprintf("\nconverting the merged weights to the type of the file changes logits by at most another %.2g", *r.Quantized)
	}
	return text
}
