package mamba

import (
	"fmt"
	"sync"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/nn"
)

// Model is a Mamba language model: an embedding table, blocks on a residual stream, a final norm, and a head. It
// corresponds to transformers' MambaForCausalLM.
//
// Forward, Logits, and Loss record a graph, for training. [Decoder], Score, and Generate call the kernels directly,
// without a graph. Both compute the same numbers from the same parameters.
type Model struct {
	Config     Config
	Embeddings *nn.Embedding
	Layers     []*Block
	NormF      *nn.RMSNorm
	// Head maps hidden states to logits. If the head is tied, its Weight is the same parameter as that of Embeddings.
	// An adapter in the head's slot still changes only the logits.
	Head *nn.Linear
	// Checkpointing makes graphs recompute each block in the backward pass instead of keeping its activations.
	Checkpointing bool
	// LabelSmoothing is the fraction of each label's probability that Loss spreads over the whole vocabulary.
	LabelSmoothing float64

	// NeftuneAlpha is the scale of the noise that graphs add to embeddings during training; 0 means none. See [ag.Noise].
	NeftuneAlpha float64

	generation *GenerationConfig // from generation_config.json; nil if there is none
	mu         sync.Mutex        // held while weights are packed
}

// Block computes x + mixer(norm(x)).
type Block struct {
	Norm  *nn.RMSNorm
	Mixer Mixer
}

// Forward records the block for x (rows, m).
func (b *Block) Forward(x ag.Var) ag.Var {
	return ag.Add(x, b.Mixer.Forward(b.Norm.Forward(x)))
}

// Forward records the model up to its final norm, starting from the batch's token ids. It returns the hidden states
// (rows, m) that transformers returns: one after each block, then the output of the final norm.
func (m *Model) Forward(g *ag.Graph) []ag.Var {
	x := m.Embeddings.Forward(g.Tokens())
	if m.NeftuneAlpha > 0 {
		x = ag.Noise(x, m.NeftuneAlpha)
	}
	return m.forward(x)
}

// ForwardEmbeds is like Forward but starts from the batch's embeddings instead of its ids.
func (m *Model) ForwardEmbeds(g *ag.Graph) []ag.Var {
	return m.forward(g.Embeds(m.Config.HiddenSize))
}

func (m *Model) forward(x ag.Var) []ag.Var {
	hidden := make([]ag.Var, 0, len(m.Layers)+1)
	for _, b := range m.Layers {
		if m.Checkpointing {
			in := x
			x = in.Graph().Checkpoint(func() ag.Var { return b.Forward(in) })
		} else {
			x = b.Forward(x)
		}
		hidden = append(hidden, x)
	}
	return append(hidden, m.NormF.Forward(x))
}

// Loss records the whole model and returns the total cross entropy of the batch's labels, a scalar. Only a few rows
// of logits are in memory at a time.
func (m *Model) Loss(g *ag.Graph) ag.Var {
	hidden := m.Forward(g)
	return m.Head.CrossEntropy(hidden[len(hidden)-1], ag.LossOptions{Smoothing: m.LabelSmoothing})
}

// Logits records the head applied to hidden states (rows, m). The result is (rows, v).
func (m *Model) Logits(h ag.Var) ag.Var { return m.Head.Forward(h) }

// Tied reports whether the head shares the embedding table.
func (m *Model) Tied() bool { return m.Head.Weight == m.Embeddings.Weight }

// Untie gives the head its own weight, lm_head.weight, a copy of the embedding table. It does nothing if the head is
// not tied.
func (m *Model) Untie() {
	if !m.Tied() {
		return
	}
	table := m.Embeddings.Weight
	m.Config.TieWordEmbeddings = false
	if of, blocks, ok := table.Quantized(); ok { // blocks never change, so they can be shared
		var err error
		if m.Head.Weight, err = ag.NewQuantized(headName, of, blocks, table.Shape()[0], table.Shape()[1]); err != nil {
			panic(err)
		}
		return
	}
	table.Unpack()
	m.Head.Weight = ag.NewParam(headName, table.Value.Clone().(*tensor.Dense))
}

// Params lists the parameters in checkpoint order. A tied head is listed once.
func (m *Model) Params() []*ag.Param {
	params := []*ag.Param{m.Embeddings.Weight}
	for _, b := range m.Layers {
		params = append(append(params, b.Norm.Weight), b.Mixer.Params()...)
	}
	params = append(params, m.NormF.Weight)
	if !m.Tied() {
		params = append(params, m.Head.Weight)
	}
	return params
}

// Slots lists the slots for adapters in checkpoint order: the table, those of each mixer, the head.
func (m *Model) Slots() []nn.Slot {
	slots := []nn.Slot{{Path: "backbone.embeddings", Embedding: m.Embeddings, Usual: true}}
	for _, b := range m.Layers {
		slots = append(slots, b.Mixer.Slots()...)
	}
	return append(slots, nn.Slot{Path: "lm_head", Linear: m.Head})
}

// Names of the tensors outside the layers.
const (
	tableName = "backbone.embeddings.weight"
	headName  = "lm_head.weight"
)

func layerPath(i int) string { return fmt.Sprintf("backbone.layers.%d", i) }

// build makes the model that c describes. It calls make for each parameter, in checkpoint order. Names and shapes are
// defined only here and in the families' files.
func build(c Config, make func(name string, shape ...int) *ag.Param) *Model {
	b := &builder{m: &Model{Config: c}, param: make}
	m, v, h, mixer := b.m, c.VocabSize, c.HiddenSize, c.family().mixer
	m.Embeddings = &nn.Embedding{Weight: b.param(tableName, v, h)}
	for i := range c.NumHiddenLayers {
		path := layerPath(i)
		norm := &nn.RMSNorm{Weight: b.param(path+".norm.weight", h), Eps: c.LayerNormEpsilon}
		m.Layers = append(m.Layers, &Block{Norm: norm, Mixer: mixer(b, path+".mixer.")})
	}
	m.NormF = &nn.RMSNorm{Weight: b.param("backbone.norm_f.weight", h), Eps: c.LayerNormEpsilon}
	m.Head = &nn.Linear{Weight: m.Embeddings.Weight}
	if !c.TieWordEmbeddings {
		m.Head = b.linear("lm_head", h, v)
	}
	return m
}

// layout lists the tensors of the model that c describes, in checkpoint order.
func layout(c Config) []tensorInfo {
	var list []tensorInfo
	build(c, func(name string, shape ...int) *ag.Param {
		list = append(list, tensorInfo{name: name, shape: shape})
		return nil
	})
	return list
}

// builder makes the layers of a model.
type builder struct {
	m     *Model
	param func(name string, shape ...int) *ag.Param
}

// linear makes a projection without a bias.
func (b *builder) linear(path string, in, out int) *nn.Linear {
	return &nn.Linear{Weight: b.param(path+".weight", out, in)}
}

// affine makes a projection with a bias.
func (b *builder) affine(path string, in, out int) *nn.Linear {
	l := b.linear(path, in, out)
	l.Bias = b.param(path+".bias", out)
	return l
}

// projection makes a projection, with a bias if the configuration asks for one.
func (b *builder) projection(path string, in, out int) *nn.Linear {
	if b.m.Config.UseBias {
		return b.affine(path, in, out)
	}
	return b.linear(path, in, out)
}

func (b *builder) conv1d(path string, d, k int) *nn.Conv1d {
	c := b.m.Config
	l := &nn.Conv1d{Weight: b.param(path+".weight", d, 1, k), Act: activations[c.HiddenAct]}
	if c.UseConvBias {
		l.Bias = b.param(path+".bias", d)
	}
	return l
}
