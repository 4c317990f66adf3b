package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer/recipe"
)

type initFlags struct {
	preset, config, output, tokenizer, scheme string
	seed                                      uint64
	force                                     bool
}

func (a *app) initCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Create a model with new random weights, for training from scratch",
		Example: `  mamba-train init --preset 130m --output models/new --tokenizer models/mamba-130m-hf
  mamba-train init --config config.json --output models/tiny --seed 1`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.initModel(f) },
	}
	cmd.Flags().StringVar(&f.preset, "preset", "", "published model: "+strings.Join(mamba.Presets(), ", "))
	cmd.Flags().StringVar(&f.config, "config", "", "config.json, or a directory that contains one")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "model directory to create")
	cmd.Flags().StringVar(&f.tokenizer, "tokenizer", "", "tokenizer to copy: directory, tokenizer.json, or Hugging Face id")
	cmd.Flags().StringVar(&f.scheme, "init", string(mamba.InitMambaSSM), "initialization: mamba_ssm (the authors') or hf (transformers')")
	cmd.Flags().Uint64Var(&f.seed, "seed", 42, "seed for the weights")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace files in an output directory that is not empty")
	cli.RequireFlags(cmd, "output")
	cmd.MarkFlagsMutuallyExclusive("preset", "config")
	cmd.MarkFlagsOneRequired("preset", "config")
	return cmd
}

// weightsResult is the --json output of commands that write weights.
type weightsResult struct {
	Output  string `json:"output"`
	Tensors int    `json:"tensors"`
}

func (a *app) initModel(f initFlags) error {
	c, err := f.modelConfig()
	if err != nil {
		return cli.Misuse(err)
	}
	if !slices.Contains([]mamba.Init{mamba.InitMambaSSM, mamba.InitHF}, mamba.Init(f.scheme)) {
		return cli.Misusef("--init must be mamba_ssm or hf, got %q", f.scheme)
	}
	if err := cli.CheckOutput(f.output, cli.Policy(f.force), f.config, f.tokenizer); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	file := ""
	if f.tokenizer != "" {
		if file, err = recipe.FindTokenizer(ctx, a.hub(), f.tokenizer); err != nil {
			return cli.WithSignal(ctx, err)
		}
		if c.VocabSize, err = f.vocabulary(a, c.VocabSize, file); err != nil {
			return err
		}
	}
	a.Wait("drawing weights for %s", f.output)
	collectEarly()
	m, err := recipe.NewModel(c, mamba.Init(f.scheme), f.seed, mamba.LoadOptions{})
	if err != nil {
		return err
	}
	err = cli.Stage(ctx, f.output, cli.Policy(f.force), func(tmp string) error {
		if err := m.Save(tmp, mamba.SaveOptions{ShardBytes: weights.DefaultShardBytes}); err != nil {
			return err
		}
		return recipe.CopyModelFiles(tmp, file)
	})
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	n := 0
	for _, p := range m.Params() {
		n += p.Size()
	}
	text := fmt.Sprintf("wrote %s: %s in %s", f.output, format.Counted(n, "parameter"), format.Counted(len(m.Params()), "tensor"))
	return a.Result(weightsResult{f.output, len(m.Params())}, text)
}

// vocabulary returns the number of rows in the model's embedding table, which must have one for each id of the tokenizer. A
// preset is enlarged if necessary; a configuration that is too small is an error.
func (f initFlags) vocabulary(a *app, rows int, file string) (int, error) {
	t, err := tokenizer.Load(file)
	if err != nil {
		return 0, err
	}
	n := t.VocabSize()
	if n <= rows {
		return rows, nil
	}
	if f.preset == "" {
		return 0, cli.Misusef("--config %s: vocab_size is %d, but the tokenizer has %[4]s: set it to %[3]d or more", f.config, rows, n, format.Counted(n, "id"))
	}
	const multiple = 8
	padded := (n + multiple - 1) / multiple * multiple
	a.Say("vocab_size is %d instead of %d: the tokenizer has %s", padded, rows, format.Counted(n, "id"))
	return padded, nil
}

func (f initFlags) modelConfig() (mamba.Config, error) {
	if f.preset != "" {
		return mamba.Preset(f.preset)
	}
	return mamba.LoadConfig(f.config)
}
