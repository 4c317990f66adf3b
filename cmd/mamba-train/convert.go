package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
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
		Short: "Convert an original state-spaces or Mistral checkpoint to a Hugging Face directory",
		Long: `Convert an original Mamba-1 or Mamba-2 checkpoint to a Hugging Face directory. It may come from state-spaces (config.json
with d_model, n_layer, and ssm_cfg; weights in pytorch_model.bin or safetensors) or from Mistral (params.json and
consolidated.safetensors). PyTorch files are read without running any code in them. Other models are refused.`,
		Example: "  mamba-train convert --model state-spaces/mamba-130m --output models/mamba-130m-hf",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.convert(f) },
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "directory or Hugging Face id of the checkpoint")
	addOutputFlags(cmd, &f)
	cli.RequireFlags(cmd, "model", "output")
	return cmd
}

// addOutputFlags defines the flags for the output of convert and export.
func addOutputFlags(cmd *cobra.Command, f *convertFlags) {
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "file or directory to write")
	addWeightFlags(cmd, &f.dtype, &f.shard)
	cmd.Flags().BoolVar(&f.force, "force", false, "replace existing files")
}

// convert rewrites the model's weights with transformers' tensor names, in the given type and shard size.
func (a *app) convert(f convertFlags) error {
	o, err := saveOptions(f.dtype, f.shard)
	if err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	dir, err := a.modelDirectory(ctx, f.model)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	r := weightsResult{Output: f.output}
	if err := cli.CheckOutput(f.output, cli.Policy(f.force), dir); err != nil {
		return err
	}
	if err := checkConversion(dir); err != nil {
		return err
	}
	a.Wait("writing %s", f.output)
	var notFinite []string
	o.NotFinite = func(name string) { notFinite = append(notFinite, name) }
	err = cli.Stage(ctx, f.output, cli.Policy(f.force), func(tmp string) error {
		if _, err := mamba.Convert(ctx, dir, tmp, o); err != nil {
			return err
		}
		if r.Tensors, err = countTensors(tmp); err != nil {
			return err
		}
		return recipe.CopyModelFiles(tmp, dir)
	})
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	a.warnNotFinite(notFinite, r.Tensors)
	return a.Result(r, fmt.Sprintf("wrote %s: %s", r.Output, format.Counted(r.Tensors, "tensor")))
}

// checkConversion returns an error if any single tensor of the model does not fit in memory.
func checkConversion(dir string) error {
	c, err := mamba.LoadConfig(dir)
	if err != nil {
		return err
	}
	return recipe.CheckConversion(c)
}

// warnNotFinite warns about tensors that contain NaN or infinite numbers.
func (a *app) warnNotFinite(names []string, of int) {
	if len(names) > 0 {
		a.Warn("%s", recipe.NotFinite(names, of))
	}
}

// countTensors returns the number of tensors in a directory's weights.
func countTensors(dir string) (int, error) {
	t, err := weights.Open(dir)
	if err != nil {
		return 0, err
	}
	defer t.Close()
	return len(t.Names()), nil
}
