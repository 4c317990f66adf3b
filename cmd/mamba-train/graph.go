package main

import (
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/spf13/cobra"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn"
	"mambatrain/trainer"
)

type graphFlags struct {
	layers   int
	rows     int
	backward bool
	lora     bool
	output   string
}

func (a *app) graphCommand() *cobra.Command {
	var f graphFlags
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw the computation graph of a Mamba model as DOT, for Graphviz",
		Example: `  mamba-train graph | dot -Tsvg > block.svg
  mamba-train graph --lora --backward --output step.dot`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.graph(f) },
	}
	cmd.Flags().IntVar(&f.layers, "layers", 1, "layers of the model that is drawn")
	cmd.Flags().IntVar(&f.rows, "rows", 8, "rows of the batch")
	cmd.Flags().BoolVar(&f.backward, "backward", false, "with the gradients")
	cmd.Flags().BoolVar(&f.lora, "lora", false, "with the adapters of the recipe")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "file to write; default: standard output")
	return cmd
}

func (a *app) graph(f graphFlags) error {
	if f.layers < 1 || f.rows < 1 {
		return misusef("--layers and --rows must be at least 1, got %d and %d", f.layers, f.rows)
	}
	c := mamba.DefaultConfig()
	c.VocabSize, c.HiddenSize, c.IntermediateSize, c.TimeStepRank, c.NumHiddenLayers = 64, 16, 32, 4, f.layers
	m, err := mamba.New(c, mamba.InitMambaSSM, rand.New(rand.NewPCG(1, initStream)))
	if err != nil {
		return err
	}
	if f.lora {
		if _, err := lora.Inject(m, lora.Defaults(), rand.New(rand.NewPCG(1, adapterStream))); err != nil {
			return err
		}
	} else if f.backward {
		if err := trainer.SelectTrainable(m.Params(), nil); err != nil {
			return err
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
	if f.output == "" {
		return d.DOT(a.out)
	}
	if err := nn.WriteFile(f.output, func(w io.Writer) error { return d.DOT(w) }); err != nil {
		return err
	}
	return a.result(map[string]any{"output": f.output, "nodes": len(d.Nodes)}, fmt.Sprintf("wrote %s: %d nodes", f.output, len(d.Nodes)))
}
