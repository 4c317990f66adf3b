package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer/recipe"
)

type convertFlags struct {
	model, adapter, base string
	output               string
	format               string
	dtype, shard         string
	ggufType             string
	adapters             []string
	force                bool
}

func (a *app) convertCommand() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "convert",
		Short: "Turn an original state-spaces checkpoint into a Hugging Face directory",
		Long: `Turn an original state-spaces checkpoint (config.json with d_model, n_layer, ssm_cfg; weights in pytorch_model.bin
or safetensors) into a Hugging Face directory. A torch file is read by a reader that builds tensors and runs nothing.
What is not Mamba-1 is refused by name.`,
		Example: "  mamba-train convert --model state-spaces/mamba-130m --output models/mamba-130m-hf",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.convert(f) },
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "directory or Hugging Face id of the checkpoint")
	addOutputFlags(cmd, &f)
	cli.RequireFlags(cmd, "model", "output")
	return cmd
}

func addOutputFlags(cmd *cobra.Command, f *convertFlags) {
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "what to make")
	addWeightFlags(cmd, &f.dtype, &f.shard)
	cmd.Flags().BoolVar(&f.force, "force", false, "replace files that are there")
}

// convert writes the model's weights again, under transformers' names and in the wanted type and shards.
func (a *app) convert(f convertFlags) error {
	o, err := saveOptions(f.dtype, f.shard)
	if err != nil {
		return err
	}
	ctx, stop := cli.Interruptible()
	defer stop()
	dir, err := a.modelDirectory(ctx, f.model)
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	r := written{Output: f.output}
	err = cli.Stage(ctx, f.output, cli.PolicyOf(f.force), func(tmp string) error {
		if _, err := mamba.Convert(ctx, dir, tmp, o); err != nil {
			return err
		}
		if r.Tensors, err = countTensors(tmp); err != nil {
			return err
		}
		return recipe.CopyModelFiles(tmp, dir)
	})
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	return a.Result(r, fmt.Sprintf("wrote %s: %d tensors", r.Output, r.Tensors))
}

func (a *app) exportCommand() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a model for other programs: GGUF for llama.cpp, or another type or shards for transformers",
		Example: `  mamba-train export --format gguf --model runs/quickstart-merged --output model.gguf --type Q8_0
  mamba-train export --format hf --model DIR --output DIR2 --dtype bfloat16 --max-shard-size 2GB
  mamba-train export --format gguf --adapter runs/quickstart --output adapter.gguf`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.export(f) },
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "model directory or Hugging Face id")
	cmd.Flags().StringVar(&f.adapter, "adapter", "", "adapter directory; only with --format gguf")
	cmd.Flags().StringVar(&f.format, "format", "", "hf or gguf")
	cmd.Flags().StringVar(&f.ggufType, "type", string(mamba.GGUFF16), "of a GGUF file: F32, F16, BF16 or Q8_0")
	addOutputFlags(cmd, &f)
	cli.RequireFlags(cmd, "format", "output")
	return cmd
}

func (a *app) export(f convertFlags) error {
	switch {
	case f.format == "hf" && f.adapter != "":
		return cli.Misusef("--format hf takes --model; an adapter directory is Hugging Face's already (merge folds it into its base)")
	case f.model == "" && f.adapter == "":
		return cli.Misusef("--model or --adapter must be given")
	case f.format == "hf":
		return a.convert(f)
	case f.format != "gguf":
		return cli.Misusef("--format must be hf or gguf, got %q", f.format)
	}
	o := mamba.GGUFOptions{Type: mamba.GGUFType(strings.ToUpper(f.ggufType)), Name: filepath.Base(f.model)}
	if err := cli.Misuse(o.Type.Validate()); err != nil {
		return err
	}
	if !f.force && cli.Exists("", f.output) == nil {
		return cli.Misusef("--output %s is there already; --force replaces it", f.output)
	}
	ctx, stop := cli.Interruptible()
	defer stop()
	if f.adapter != "" {
		return cli.Signalled(ctx, a.exportAdapter(ctx, f))
	}
	dir, err := a.modelDirectory(ctx, f.model)
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	n := 0
	err = cli.StageFile(ctx, f.output, func(tmp string) (err error) {
		n, err = mamba.ExportGGUF(ctx, dir, tmp, o)
		return err
	})
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	return a.Result(written{f.output, n}, fmt.Sprintf("wrote %s: %d tensors", f.output, n))
}

func (a *app) exportAdapter(ctx context.Context, f convertFlags) error {
	d, err := recipe.OpenAdapter(f.adapter)
	if err != nil {
		return err
	}
	defer d.Close()
	base, err := modelFlags{f.model, f.adapter}.directory(ctx, a)
	if err != nil {
		return err
	}
	tie, err := tieOf(base)
	if err != nil {
		return err
	}
	n := 0
	err = cli.StageFile(ctx, f.output, func(tmp string) (err error) {
		n, err = d.WriteGGUF(tmp, tie)
		return err
	})
	if err != nil {
		return err
	}
	return a.Result(written{f.output, n}, fmt.Sprintf("wrote %s: %d tensors", f.output, n))
}

// tieOf says whether a model's head is its table.
func tieOf(dir string) (lora.Tie, error) {
	c, err := mamba.LoadConfig(dir)
	if err != nil || !c.TieWordEmbeddings {
		return lora.Tie{}, err
	}
	return tiedHead, nil
}

var tiedHead = lora.Tie{Head: "lm_head.weight", Table: "backbone.embeddings.weight"}

func (a *app) unmergeCommand() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "unmerge",
		Short: "Undo a merge: give a merged model its base's weights again",
		Long: `Undo a merge. The base's weights come back bit for bit, once every tensor of the merged model has been seen to be
what the adapters make of them; a model that was changed since is refused with the names of its tensors.`,
		Example: "  mamba-train unmerge --model runs/quickstart-merged --adapter runs/quickstart --output runs/base-again",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.unmerge(f) },
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "merged model directory")
	cmd.Flags().StringArrayVar(&f.adapters, "adapter", nil, "adapter directory, with its share after =; may be repeated")
	cmd.Flags().StringVar(&f.base, "base", "", "the base model; default: the adapter's")
	addOutputFlags(cmd, &f)
	cli.RequireFlags(cmd, "model", "adapter", "output")
	return cmd
}

func (a *app) unmerge(f convertFlags) error {
	o, err := saveOptions(f.dtype, f.shard)
	if err != nil {
		return err
	}
	ctx, stop := cli.Interruptible()
	defer stop()
	dir, err := a.modelDirectory(ctx, f.model)
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	m := &merger{}
	defer m.close()
	if err := m.open(ctx, a, mergeFlags{model: f.base, adapters: f.adapters}); err != nil {
		return cli.Signalled(ctx, err)
	}
	if m.tied, err = isTied(m); err != nil {
		return err
	}
	merged, err := weights.Open(dir)
	if err != nil {
		return err
	}
	defer merged.Close()
	tie := lora.Tie{}
	if m.tied {
		tie = tiedHead
	}
	list, err := lora.UnmergeFiles(ctx, merged, m.tensors, tie, m.adapters...)
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	err = cli.Stage(ctx, f.output, cli.PolicyOf(f.force), func(tmp string) error {
		if err := weights.SaveShards(tmp, until(ctx, list), nil, o.ShardBytes); err != nil {
			return err
		}
		if err := m.config.Save(tmp); err != nil {
			return err
		}
		return recipe.CopyModelFiles(tmp, m.base, dir)
	})
	if err != nil {
		return cli.Signalled(ctx, err)
	}
	return a.Result(written{f.output, len(list)}, fmt.Sprintf("wrote %s: %d tensors, as in %s", f.output, len(list), m.base))
}

// isTied says whether the head of a merge's base is its table: config.json says so and the files hold no other head.
func isTied(m *merger) (bool, error) {
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

// countTensors returns the number of tensors that a directory's weights have.
func countTensors(dir string) (int, error) {
	t, err := weights.Open(dir)
	if err != nil {
		return 0, err
	}
	defer t.Close()
	return len(t.Names()), nil
}
