package mamba_test

import (
	"context"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/mamba"
	"mambatrain/nn"
	"mambatrain/nn/weights"
)

// convolution is a mixer that depends only on the last k rows.
type convolution struct{ *nn.Conv1d }

func (c convolution) Apply(p *mamba.Pass) {
	y, conv := p.Scratch(p.X.Cols), c.Kernel()
	if p.Steps() {
		conv.Step(y, p.X, p.Conv)
	} else {
		for s := range p.Parts() {
			x := p.X.Slice(s.From, s.To, 0, p.X.Cols)
			conv.Forward(y.Slice(s.From, s.To, 0, y.Cols), x, s.First, s.Conv)
			conv.Tail(s.Conv, x, s.First, s.Conv)
		}
	}
	kernel.AddMat(p.Y, y)
}

func (c convolution) StateSize() (conv, ssm int) { return c.Conv1d.StateSize(), 0 }

func (c convolution) Slots() []nn.Slot { return nil }

// withConvolution returns a model with three layers, the second of which is not a Mamba layer.
func withConvolution() (*mamba.Model, error) {
	c := mamba.Default()
	c.VocabSize, c.HiddenSize, c.IntermediateSize, c.TimeStepRank, c.NumHiddenLayers = 64, 16, 32, 4, 3
	r := rand.New(rand.NewPCG(1, 2))
	m, err := mamba.New(c, mamba.InitHF, r, mamba.LoadOptions{})
	if err != nil {
		return nil, err
	}
	w := ag.Zeros("backbone.layers.1.mixer.conv1d.weight", c.HiddenSize, 1, 3)
	nn.FanIn(w, 3, r)
	m.Layers[1].Mixer = convolution{&nn.Conv1d{Weight: w, Act: kernel.SiLU}}
	return m, nil
}

// A layer can be of any type that implements Mixer.
func ExampleMixer() {
	m, err := withConvolution()
	if err != nil {
		log.Fatal(err)
	}
	o := m.DefaultGenerate()
	o.MaxNewTokens, o.EOS = 5, nil
	texts, err := m.Generate(context.Background(), [][]int{{1, 2, 3}}, o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(texts[0].IDs), "tokens")
	// Output: 5 tokens
}

// TestForeignMixer checks that a model with a layer of a different kind computes the same with and without a graph,
// in one piece, in several, and from a saved state, and that it can be trained, scored, and saved.
func TestForeignMixer(t *testing.T) {
	const selfAbs = 5e-6
	m, err := withConvolution()
	if err != nil {
		t.Fatal(err)
	}
	ctx, ids := context.Background(), []int{5, 9, 3, 60, 17, 2, 33, 8, 1}
	for _, p := range m.Params() {
		if err := p.Train(); err != nil {
			t.Fatal(err)
		}
	}
	g := ag.NewGraph(ag.Options{Rows: len(ids)})
	p, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Step(ctx, ag.Step{Batch: ag.Batch{Tokens: ids, Labels: ids, Starts: []int{0}}, Scale: 1})
	if err != nil {
		t.Fatal(err)
	}
	if own := m.Layers[1].Mixer.Params()[0]; slices.Max(own.GradFloat32s()) == 0 {
		t.Error("the layer does not train")
	}
	for _, rows := range []int{0, 2} {
		for s, err := range m.Score(ctx, slices.Values([]mamba.Document{{Tokens: ids}}), mamba.ScoreOptions{Rows: rows}) {
			if err != nil || math.Abs(s.NLL-got.Sum) > selfAbs*got.Sum {
				t.Errorf("scored %d rows at once: loss %v, in the graph %v, %v", rows, s.NLL, got.Sum, err)
			}
		}
	}

	o := m.DefaultGenerate()
	o.MaxNewTokens, o.EOS = 8, nil
	all, err := m.Generate(ctx, [][]int{ids, {4}}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.MaxNewTokens, o.State = 3, m.NewState(2)
	first, err := m.Generate(ctx, [][]int{ids, {4}}, o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.safetensors")
	if err := o.State.Save(path); err != nil {
		t.Fatal(err)
	}
	if o.State, err = m.LoadState(path); err != nil {
		t.Fatal(err)
	}
	o.MaxNewTokens = 5
	second, err := m.Generate(ctx, [][]int{nil, nil}, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if cut := append(first[i].IDs, second[i].IDs...); !slices.Equal(cut, all[i].IDs) {
			t.Errorf("prompt %d: in pieces %v, at once %v", i, cut, all[i].IDs)
		}
	}

	dir := t.TempDir()
	if err := m.Save(dir, mamba.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if x, ok := f.Tensor("backbone.layers.1.mixer.conv1d.weight"); !ok || !slices.Equal(x.Shape, []int{16, 1, 3}) || len(f.Names()) != len(m.Params()) {
		t.Errorf("saved %v", f.Names())
	}
}
