package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	ag "mambatrain/autograd"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

type graphFlags struct {
	model    string
	layers   int
	rows     int
	backward bool
	lora     bool
	format   string
	output   string
}

func (a *app) graphCommand() *cobra.Command {
	var f graphFlags
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw the computation graph of a Mamba model as SVG, or as DOT for Graphviz",
		Example: `  mamba-train graph --output block.svg
  mamba-train graph --lora --backward --output step.svg
  mamba-train graph --model mamba2-130m --output mamba2.svg
  mamba-train graph --layers 2 --format dot | dot -Tpdf > layers.pdf`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.graph(f) },
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "model to draw: directory or published size, such as mamba2-130m; default: a tiny Mamba")
	cmd.Flags().IntVar(&f.layers, "layers", 1, "number of layers to draw")
	cmd.Flags().IntVar(&f.rows, "rows", 8, "number of rows in the batch")
	cmd.Flags().BoolVar(&f.backward, "backward", false, "include the backward pass")
	cmd.Flags().BoolVar(&f.lora, "lora", false, "include LoRA adapters with default settings")
	cmd.Flags().StringVar(&f.format, "format", "", "svg or dot; default: by the extension of the output, otherwise dot")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "file to write; default: standard output")
	return cmd
}

func (a *app) graph(f graphFlags) error {
	const limit = 1 << 10 // a larger picture would not be readable
	if f.layers < 1 || f.rows < 1 || f.layers > limit || f.rows > limit {
		return cli.Misusef("--layers and --rows must be between 1 and %d, got %d and %d", limit, f.layers, f.rows)
	}
	if err := f.chooseFormat(); err != nil {
		return err
	}
	if a.JSON && f.output == "" {
		return cli.Misusef("--json describes the file that was written, so it requires --output; without --json, the graph goes to standard output")
	}
	c, err := f.sizes()
	if err != nil {
		return err
	}
	m, err := recipe.Outline(c, mamba.LoadOptions{})
	if err != nil {
		return err
	}
	if f.lora {
		if _, err := recipe.NewAdapter(m, lora.Default(), 1); err != nil {
			return err
		}
	} else if f.backward {
		for _, p := range m.Params() {
			p.Grad = p.Value // marks the parameter trainable without allocating a gradient
		}
	}
	g := ag.NewGraph(ag.Options{Rows: f.rows})
	loss := m.Loss(g)
	if f.backward {
		if _, err := g.Compile(loss); err != nil {
			return err
		}
	}
	if err := g.Err(); err != nil {
		return err
	}
	d := g.Draw()
	write := d.DOT
	if f.format == "svg" {
		write = d.SVG
	}
	if f.output == "" {
		return write(a.Out)
	}
	if err := atomicfile.WriteOutput(f.output, write); err != nil {
		return err
	}
	return a.Result(map[string]any{"output": f.output, "nodes": len(d.Nodes)}, fmt.Sprintf("wrote %s: %s", f.output, format.Counted(len(d.Nodes), "node")))
}

// chooseFormat derives the format from --format and the output's file extension, which must not contradict each other.
func (f *graphFlags) chooseFormat() error {
	if !slices.Contains([]string{"", "svg", "dot"}, f.format) {
		return cli.Misusef("--format must be svg or dot, got %q", f.format)
	}
	ending := filepath.Ext(f.output)
	byName, known := map[string]string{"": f.format, ".svg": "svg", ".dot": "dot", ".gv": "dot"}[strings.ToLower(ending)]
	if !known {
		return cli.Misusef("--output must end in .svg, .dot, or .gv, got %q; Graphviz converts DOT to other formats: mamba-train graph | dot -T%s", f.output, ending[1:])
	}
	if f.format != "" && f.format != byName {
		return cli.Misusef("--format is %s, but --output is %q", f.format, f.output)
	}
	f.format = byName
	return nil
}

// sizes returns the sizes of the model to draw.
func (f graphFlags) sizes() (c mamba.Config, err error) {
	if f.model == "" {
		c = mamba.Default()
		c.VocabSize, c.HiddenSize, c.IntermediateSize, c.TimeStepRank = 64, 16, 32, 4
	} else if c, err = recipe.Sizes(f.model); err != nil {
		return c, err
	}
	c.NumHiddenLayers = f.layers
	return c, nil
}
