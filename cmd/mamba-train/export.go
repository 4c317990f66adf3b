package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

func (a *app) exportCommand() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a model for other programs: GGUF for llama.cpp, or a directory in another dtype or shard size for transformers",
		Example: `  mamba-train export --format gguf --model runs/quickstart-merged --output model.gguf --type Q8_0
  mamba-train export --format hf --model DIR --output DIR2 --dtype bfloat16 --max-shard-size 2GB
  mamba-train train -c configs/quickstart.yaml --set output_dir=runs/projections --set "lora.target_modules=[in_proj, out_proj]"
  mamba-train export --format gguf --adapter runs/projections --output adapter.gguf`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkExportFlags(cmd, f); err != nil {
				return err
			}
			return a.export(f)
		},
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "model directory or Hugging Face id")
	cmd.Flags().StringVar(&f.adapter, "adapter", "", "adapter directory; only with --format gguf")
	cmd.Flags().StringVar(&f.format, "format", "", "hf or gguf")
	cmd.Flags().StringVar(&f.ggufType, "type", string(mamba.GGUFF16), "type of the weights in the GGUF file: "+strings.Join(mamba.GGUFTypes(), ", "))
	addOutputFlags(cmd, &f)
	cli.RequireFlags(cmd, "format", "output")
	return cmd
}

// checkExportFlags rejects flags that do not apply to the output format.
func checkExportFlags(cmd *cobra.Command, f convertFlags) error {
	unused := map[string][]string{"hf": {"type"}, "gguf": {"dtype", "max-shard-size"}}[f.format]
	if f.adapter != "" {
		unused = append(unused, "type")
	}
	for _, name := range unused {
		if cmd.Flags().Changed(name) {
			what := "--format " + f.format
			if f.adapter != "" {
				what = "--adapter"
			}
			return cli.Misusef("--%s cannot be used with %s", name, what)
		}
	}
	return nil
}

func (a *app) export(f convertFlags) error {
	switch {
	case f.format == "hf" && f.adapter != "":
		return cli.Misusef("--format hf requires --model; an adapter directory is already in Hugging Face format (merge folds it into its base model)")
	case f.model == "" && f.adapter == "":
		return cli.Misusef("--model or --adapter is required")
	case f.format == "hf":
		return a.convert(f)
	case f.format != "gguf":
		return cli.Misusef("--format must be hf or gguf, got %q", f.format)
	}
	o := mamba.GGUFOptions{Type: mamba.GGUFType(strings.ToUpper(f.ggufType)), Name: filepath.Base(f.model)}
	if err := cli.Misuse(o.Type.Validate()); err != nil {
		return err
	}
	if err := cli.CheckFile(f.output, cli.Policy(f.force)); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	if f.adapter != "" {
		return cli.WithSignal(ctx, a.exportAdapter(ctx, f))
	}
	dir, err := a.modelDirectory(ctx, f.model)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	if mamba.IsGGUF(dir) {
		return cli.Misusef("model %s is already a GGUF file; to convert it to another type, export it with --format hf, and then export the result as GGUF", dir)
	}
	if err := cli.CheckFile(f.output, cli.Policy(f.force), recipe.InputFiles(dir)...); err != nil {
		return err
	}
	if err := checkConversion(dir); err != nil {
		return err
	}
	var notFinite []string
	o.Note = func(note string) { a.Warn("%s", note) }
	o.NotFinite = func(name string) { notFinite = append(notFinite, name) }
	if err := a.describeTokenizer(ctx, dir, &o); err != nil {
		return err
	}
	a.Wait("writing %s", f.output)
	n := 0
	err = cli.StageFile(ctx, f.output, func(tmp string) (err error) {
		n, err = mamba.ExportGGUF(ctx, dir, tmp, o)
		return err
	})
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	a.warnNotFinite(notFinite, n)
	return a.Result(weightsResult{f.output, n}, fmt.Sprintf("wrote %s: %s", f.output, format.Counted(n, "tensor")))
}

// describeTokenizer sets the added tokens, special ids, and chat template in o from a model's tokenizer. It returns an error
// if the tokenizer has an id without a row in the model.
func (a *app) describeTokenizer(ctx context.Context, dir string, o *mamba.GGUFOptions) error {
	t, err := recipe.LoadTokenizer(ctx, a.hub(), dir)
	if t == nil {
		return err
	}
	sizes, err := mamba.LoadConfig(dir)
	if err != nil {
		return err
	}
	if err := recipe.CheckVocabulary(t, sizes.VocabSize); err != nil {
		return fmt.Errorf("model %s: %w", dir, err)
	}
	for _, token := range t.AddedTokens() {
		o.Added = append(o.Added, mamba.AddedToken(token))
	}
	for _, template := range t.ChatTemplates() {
		o.ChatTemplates = append(o.ChatTemplates, mamba.ChatTemplate(template))
	}
	if id, ok := t.BOS(); ok {
		o.BOS = &id
	}
	if id, ok := t.EOS(); ok {
		o.EOS = &id
	}
	before, after := t.Around()
	o.AddBOS, o.AddEOS = is(before, o.BOS), is(after, o.EOS)
	if o.AddBOS != (len(before) > 0) || o.AddEOS != (len(after) > 0) {
		a.Warn("llama.cpp adds only BOS and EOS tokens around a text, but the tokenizer adds %v before and %v after it", before, after)
	}
	return nil
}

// is reports whether ids contains exactly id.
func is(ids []int, id *int) bool { return id != nil && slices.Equal(ids, []int{*id}) }

func (a *app) exportAdapter(ctx context.Context, f convertFlags) error {
	d, err := recipe.OpenAdapter(ctx, a.hub(), f.adapter)
	if err != nil {
		return err
	}
	defer d.Close()
	base, err := modelFlags{model: f.model, adapter: f.adapter}.directory(ctx, a)
	if err != nil {
		return err
	}
	if err := cli.CheckFile(f.output, cli.Policy(f.force), recipe.InputFiles(base, d.Path)...); err != nil {
		return err
	}
	c, err := mamba.LoadConfig(base)
	if err != nil {
		return err
	}
	architecture, err := c.GGUFArchitecture()
	if err != nil {
		return err
	}
	if rows := d.Rows(c.VocabSize); rows != c.VocabSize {
		return fmt.Errorf("adapter %s was trained with a vocabulary of %d rows, but its base has %d; merge it and export the merged model", d.Path, rows, c.VocabSize)
	}
	notFinite, err := d.NotFinite(ctx)
	if err != nil {
		return err
	}
	a.warnNotFinite(notFinite, d.Tensors())
	a.Wait("writing %s", f.output)
	n := 0
	err = cli.StageFile(ctx, f.output, func(tmp string) (err error) {
		n, err = d.WriteGGUF(tmp, architecture, recipe.TieOf(c))
		return err
	})
	if err != nil {
		return err
	}
	return a.Result(weightsResult{f.output, n}, fmt.Sprintf("wrote %s: %s", f.output, format.Counted(n, "tensor")))
}
