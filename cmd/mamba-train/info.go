package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer/recipe"
)

type infoFlags struct {
	model, adapter, config string
	sets                   []string
}

func (a *app) infoCommand() *cobra.Command {
	var f infoFlags
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show the size of a model, which programs can load an adapter, or what a run will need",
		Example: `  mamba-train info --model models/mamba-130m-hf
  mamba-train info --adapter runs/quickstart
  mamba-train info -c configs/english-quotes.yaml`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.info(f) },
	}
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "model directory, Hugging Face id, or published size such as 130m")
	cmd.Flags().StringVar(&f.adapter, "adapter", "", "adapter directory")
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "YAML file of a run")
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "set one configuration key; may be repeated")
	cmd.MarkFlagsOneRequired("model", "adapter", "config")
	cmd.MarkFlagsMutuallyExclusive("model", "config")
	cmd.MarkFlagsMutuallyExclusive("adapter", "config")
	return cmd
}

func (a *app) info(f infoFlags) error {
	if len(f.sets) > 0 && f.config == "" {
		return cli.Misusef("--set requires --config")
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	switch {
	case f.config != "":
		return a.infoRun(f)
	case f.adapter != "":
		return cli.WithSignal(ctx, a.infoAdapter(ctx, f))
	}
	return cli.WithSignal(ctx, a.infoModel(ctx, f.model))
}

// modelInfo is the output of info --json for a model. Memory is that of the weights as loaded for generation.
type modelInfo struct {
	Model      string `json:"model"`
	Parameters int    `json:"parameters"`
	Trainable  int    `json:"trainable"`
	Memory     int64  `json:"memory_bytes"`
	FileBytes  int64  `json:"file_bytes,omitempty"`
	DType      string `json:"dtype,omitempty"`
	ModelType  string `json:"model_type"`
	Layers     int    `json:"num_hidden_layers"`
	Hidden     int    `json:"hidden_size"`
	Inner      int    `json:"intermediate_size"`
	State      int    `json:"state_size"`
	Kernel     int    `json:"conv_kernel"`
	Rank       int    `json:"time_step_rank"`
	Heads      int    `json:"num_heads,omitempty"`
	HeadDim    int    `json:"head_dim,omitempty"`
	Groups     int    `json:"n_groups,omitempty"`
	Vocab      int    `json:"vocab_size"`
	Tied       bool   `json:"tie_word_embeddings"`
	Sequence   int64  `json:"state_bytes"` // per sequence
}

func (a *app) infoModel(ctx context.Context, name string) error {
	sizes, dir, err := a.lookUp(ctx, name)
	if err != nil {
		return err
	}
	m, err := recipe.Outline(sizes, mamba.LoadOptions{})
	if err != nil {
		return err
	}
	c := m.Config
	r := modelInfo{
		Model: name, DType: c.DType, ModelType: c.ModelType, Layers: c.NumHiddenLayers, Hidden: c.HiddenSize, Inner: c.IntermediateSize,
		State: c.StateSize, Kernel: c.ConvKernel, Rank: c.TimeStepRank, Heads: c.NumHeads, HeadDim: c.HeadDim, Groups: c.NGroups,
		Vocab: c.VocabSize, Tied: m.Tied(), Sequence: m.StateBytes(),
	}
	for _, p := range m.Params() {
		r.Parameters += p.Size()
	}
	r.Trainable = r.Parameters
	if r.Memory, _, err = mamba.Footprint(sizes, mamba.LoadOptions{}); err != nil {
		return err
	}
	text := fmt.Sprintf("%s: %s\nparameters   %s, %v in %s", name, describeModel(c), format.Count(r.Parameters), format.Bytes(r.Memory), cmp.Or(c.Blocks(mamba.Stored), "float32"))
	text += fmt.Sprintf("\nsizes        %s, %s", c.MixerSizes(),
		map[bool]string{true: "output head tied to the embeddings", false: "separate output head"}[r.Tied])
	text += fmt.Sprintf("\nstate        %v per sequence, regardless of length", format.Bytes(r.Sequence))
	var mismatch error
	switch t, err := weights.Open(dir); {
	case err == nil:
		defer t.Close()
		mismatch = mamba.CheckWeights(c, t)
		r.FileBytes = t.Bytes()
		types := typesOf(t)
		if len(types) > 0 && (r.DType == "" || mamba.IsGGUF(dir)) {
			r.DType = types[0]
		}
		if !mamba.IsGGUF(dir) {
			types = []string{r.DType}
		}
		text += fmt.Sprintf("\nfiles        %s, %v, %s", format.Counted(len(t.Names()), "tensor"), format.Bytes(r.FileBytes), strings.Join(types, ", "))
	case dir == "":
		text += "\nfiles        no weights"
	case errors.Is(err, weights.ErrNoWeights):
		text += "\nfiles        no weights in safetensors files"
	default:
		return err
	}
	return errors.Join(a.Result(r, text), mismatch)
}

// typesOf returns the tensor types, in decreasing order of their number of elements.
func typesOf(t *weights.Reader) []string {
	elements := map[string]int{}
	for _, name := range t.Names() {
		x, _ := t.Tensor(name)
		elements[x.DType.TorchName()] += x.Size()
	}
	return slices.SortedFunc(maps.Keys(elements), func(a, b string) int {
		return cmp.Or(cmp.Compare(elements[b], elements[a]), cmp.Compare(a, b))
	})
}

// lookUp returns a model's sizes, and its directory if it has one.
func (a *app) lookUp(ctx context.Context, name string) (mamba.Config, string, error) {
	if c, err := mamba.Preset(name); err == nil {
		return c, "", nil
	}
	dir, err := a.modelDirectory(ctx, name)
	if err != nil {
		return mamba.Config{}, "", err
	}
	c, err := mamba.LoadConfig(dir)
	return c, dir, err
}

// adapterInfo is the output of info --json for an adapter.
type adapterInfo struct {
	Adapter    string    `json:"adapter"`
	Base       string    `json:"base_model"`
	Parameters int       `json:"parameters"` // in the base model
	Trainable  int       `json:"trainable"`  // in the adapter
	Memory     int64     `json:"memory_bytes"`
	R          int       `json:"r"`
	Targets    string    `json:"target_modules"`
	Vocabulary int       `json:"vocab_size,omitempty"` // of the base model, if it was resized
	Readers    []verdict `json:"readers"`
}

type verdict struct {
	Reader  string `json:"reader"`
	Support string `json:"support"`
	Why     string `json:"why,omitempty"`
	Instead string `json:"instead,omitempty"`
}

func (a *app) infoAdapter(ctx context.Context, f infoFlags) error {
	d, err := recipe.OpenAdapter(ctx, a.hub(), f.adapter)
	if err != nil {
		return err
	}
	defer d.Close()
	r := adapterInfo{Adapter: f.adapter, Base: d.BaseModel, R: d.Config.R, Targets: d.Config.TargetModules.String()}
	tie := recipe.TieOf(mamba.Default())
	var llamaCPP error // why llama.cpp cannot run the base model
	name := f.model
	if name == "" {
		name = d.BaseModel
	}
	if sizes, err := recipe.Sizes(name); err == nil {
		tie = recipe.TieOf(sizes)
		_, llamaCPP = sizes.GGUFArchitecture()
		if m, err := recipe.Outline(sizes, mamba.LoadOptions{}); err == nil {
			for _, p := range m.Params() {
				r.Parameters += p.Size()
			}
		}
	}
	t, err := weights.Open(filepath.Join(d.Path, lora.WeightsFile))
	if err != nil {
		return err
	}
	defer t.Close()
	r.Memory = t.Bytes()
	for _, n := range t.Names() {
		x, _ := t.Tensor(n)
		r.Trainable += x.Size()
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: LoRA r %d on %s for %s\nparameters   %s, %v\n", f.adapter, r.R, r.Targets, name, format.Count(r.Trainable), format.Bytes(r.Memory))
	if r.Vocabulary = d.VocabSize; r.Vocabulary > 0 {
		fmt.Fprintf(&text, "vocabulary   %s rows; with peft, call resize_token_embeddings on the base first\n", format.Count(r.Vocabulary))
	}
	for _, v := range d.Compatibility(tie, llamaCPP) {
		r.Readers = append(r.Readers, verdict{v.Reader, string(v.Support), v.Why, v.Instead})
		text.WriteString(readerColumn(v.Reader) + v.String() + "\n")
	}
	return a.Result(r, text.String())
}

// readerColumn pads a reader's name to the column width. A longer name gets its own line.
func readerColumn(name string) string {
	const width = 25
	if len(name) >= width {
		return name + "\n" + strings.Repeat(" ", width)
	}
	return fmt.Sprintf("%-*s", width, name)
}

// runInfo is the output of info -c --json.
type runInfo struct {
	Model       string `json:"model"`
	Parameters  int    `json:"parameters"`
	Trainable   int    `json:"trainable"`
	Memory      int64  `json:"memory_bytes"`
	Weights     int64  `json:"weights_bytes"`
	Gradients   int64  `json:"gradients_bytes"`
	Optimizer   int64  `json:"optimizer_bytes"`
	Activations int64  `json:"activations_bytes"`
	Program     int64  `json:"program_bytes"` // the remainder of memory_bytes
	MaxTokens   int    `json:"max_tokens"`
	Limit       int64  `json:"limit_bytes"`
	Fits        bool   `json:"fits"`
}

func (a *app) infoRun(f infoFlags) error {
	c, err := config.Load(config.Source{File: f.config, Sets: f.sets})
	if err != nil {
		return err
	}
	sizes, err := c.Sizes()
	if err != nil {
		return err
	}
	e, err := c.Estimate(sizes)
	if err != nil {
		return err
	}
	limit := c.Limit()
	m := e.Memory
	r := runInfo{
		Model: c.Model, Parameters: e.Parameters, Trainable: e.Trainable, Memory: m.Total(), Weights: m.Weights,
		Gradients: m.Gradients, Optimizer: m.Optimizer, Activations: m.Activations, Program: m.Program(), MaxTokens: e.Rows, Limit: limit,
	}
	r.Fits = r.Memory <= limit
	text := fmt.Sprintf("%s: %s\ntrains       %s of %s parameters (%s)", c.Model, describeModel(sizes)+describeBlocks(sizes, mamba.Precision(c.Precision)), format.Count(e.Trainable), format.Count(e.Parameters), format.Percent(float64(e.Trainable)/float64(e.Parameters)))
	text += fmt.Sprintf("\nmemory       about %v at most: %s", format.Bytes(r.Memory), m)
	text += fmt.Sprintf("\nrows         up to %s at once", format.Count(e.Rows))
	text += fmt.Sprintf("\nlimit        %v, the run %s", format.Bytes(limit), map[bool]string{true: "fits", false: "does not fit"}[r.Fits])
	return a.Result(r, text)
}
