package mamba

import (
	"fmt"
	"slices"
	"sync"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/nn"
)

// Model is a Mamba language model: an embedding table, blocks on a residual stream, a last norm and a head. It is the
// counterpart of transformers' MambaForCausalLM.
//
// Its graph side (Forward, Logits, Loss) trains; its direct side ([Decoder], Score, Generate) runs on the kernels
// without a graph. Both compute the same numbers from the same parameters.
type Model struct {
	Config     Config
	Embeddings *nn.Embedding
	Layers     []*Block
	NormF      *nn.RMSNorm
	// Head maps hidden states to logits. When the head is tied, its Weight is the parameter of Embeddings itself; an
	// adapter in its slot changes the logits only.
	Head *nn.Linear
	// Checkpointing makes graphs recompute each block in the backward pass instead of keeping its activations.
	Checkpointing bool
	// LabelSmoothing is the share of each label's probability that Loss spreads over the whole vocabulary.
	LabelSmoothing float64

	// NeftuneAlpha is the strength of the noise that graphs add to embeddings while training; 0: none. See [ag.Noise].
	NeftuneAlpha float64

	params     []*ag.Param
	generation *GenerationConfig // of generation_config.json; nil: there is none
	mu         sync.Mutex        // held while weights are packed
}

// Block is x + mixer(norm(x)).
type Block struct {
	Norm  *nn.RMSNorm
	Mixer *Mixer
}

// Mixer is the selective state space layer. Gu & Dao 2023, figure 3.
type Mixer struct {
	InProj  *nn.Linear // m → 2d: the branch x and its gate z
	Conv1d  *nn.Conv1d
	XProj   *nn.Linear // d → r+2n: Δ at low rank, B and C
	DTProj  *nn.Linear // r → d
	ALog    *ag.Param  // (d, n): A = −exp(ALog)
	D       *ag.Param  // (d)
	OutProj *nn.Linear // d → m
}

// Forward records the mixer for x (rows, m); the result is (rows, m).
func (m *Mixer) Forward(x ag.Var) ag.Var {
	g := x.Graph()

	xz := m.InProj.Forward(x)
	u := m.Conv1d.Forward(xz)

	dtBC := m.XProj.Forward(u)
	dt := m.DTProj.Forward(ag.Columns(dtBC, 0, m.DTProj.In()))

	y := ag.SelectiveScan(ag.ScanInput{U: u, DT: dt, X: dtBC, Z: xz, ALog: g.Param(m.ALog), D: g.Param(m.D)})
	return m.OutProj.Forward(y)
}

// Forward records the block for x (rows, m).
func (b *Block) Forward(x ag.Var) ag.Var {
	return ag.Add(x, b.Mixer.Forward(b.Norm.Forward(x)))
}

// Forward records the model up to its last norm, from the batch's token ids. It returns the hidden states (rows, m) as
// transformers counts them: one after each block, and the last norm's output at the end.
func (m *Model) Forward(g *ag.Graph) []ag.Var {
	x := m.Embeddings.Forward(g.Tokens())
	if m.NeftuneAlpha > 0 {
		x = ag.Noise(x, m.NeftuneAlpha)
	}
	return m.forward(x)
}

// ForwardEmbeds is Forward from the batch's embeddings instead of its ids.
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

// Loss records the whole model and returns the summed cross entropy of the batch's labels, a scalar. Logits exist for a
// few rows at a time only.
func (m *Model) Loss(g *ag.Graph) ag.Var {
	hidden := m.Forward(g)
	return m.Head.CrossEntropy(hidden[len(hidden)-1], ag.LossOptions{Smoothing: m.LabelSmoothing})
}

// Logits records the head on hidden states (rows, m); the result is (rows, v).
func (m *Model) Logits(h ag.Var) ag.Var { return m.Head.Forward(h) }

// Tied says whether the head is the embedding table.
func (m *Model) Tied() bool { return m.Head.Weight == m.Embeddings.Weight }

// Untie gives the head a copy of the embedding table for a weight of its own, lm_head.weight. It does nothing to an
// untied model.
func (m *Model) Untie() {
	if !m.Tied() {
		return
	}
	table := m.Embeddings.Weight
	table.Unpack()
	m.Head.Weight = ag.NewParam(headName, table.Value.Clone().(*tensor.Dense))
	m.params = append(m.params, m.Head.Weight)
	m.Config.TieWordEmbeddings = false
}

// Params lists the parameters in checkpoint order. A tied head is not listed twice.
func (m *Model) Params() []*ag.Param { return slices.Clone(m.params) }

// Slots lists the places for adapters in checkpoint order: the table, the four projections of each mixer, the head. The
// parts of in_proj and x_proj are named as row groups.
func (m *Model) Slots() []nn.Slot {
	slots := []nn.Slot{{Path: "backbone.embeddings", Embedding: m.Embeddings}}
	d, n, r := m.Config.IntermediateSize, m.Config.StateSize, m.Config.TimeStepRank
	in := []nn.RowGroup{{Name: "x", From: 0, To: d}, {Name: "z", From: d, To: 2 * d}}
	x := []nn.RowGroup{{Name: "dt", From: 0, To: r}, {Name: "B", From: r, To: r + n}, {Name: "C", From: r + n, To: r + 2*n}}
	for i, b := range m.Layers {
		path := layerPath(i) + ".mixer."
		slots = append(slots,
			nn.Slot{Path: path + "in_proj", Linear: b.Mixer.InProj, Groups: in},
			nn.Slot{Path: path + "x_proj", Linear: b.Mixer.XProj, Groups: x},
			nn.Slot{Path: path + "dt_proj", Linear: b.Mixer.DTProj},
			nn.Slot{Path: path + "out_proj", Linear: b.Mixer.OutProj})
	}
	return append(slots, nn.Slot{Path: "lm_head", Linear: m.Head})
}

// Names of the tensors outside the layers.
const (
	tableName = "backbone.embeddings.weight"
	headName  = "lm_head.weight"
)

func layerPath(i int) string { return fmt.Sprintf("backbone.layers.%d", i) }

// build lays out the model that c describes. It asks make for each parameter, in checkpoint order: names and shapes are
// written here only.
func build(c Config, make func(name string, shape ...int) *ag.Param) *Model {
	b := &builder{m: &Model{Config: c}, make: make}
	m, v, h := b.m, c.VocabSize, c.HiddenSize
	m.Embeddings = &nn.Embedding{Weight: b.param(tableName, v, h)}
	for i := range c.NumHiddenLayers {
		path := layerPath(i)
		norm := &nn.RMSNorm{Weight: b.param(path+".norm.weight", h), Eps: c.LayerNormEpsilon}
		m.Layers = append(m.Layers, &Block{Norm: norm, Mixer: b.mixer(path + ".mixer.")})
	}
	m.NormF = &nn.RMSNorm{Weight: b.param("backbone.norm_f.weight", h), Eps: c.LayerNormEpsilon}
	m.Head = &nn.Linear{Weight: m.Embeddings.Weight}
	if !c.TieWordEmbeddings {
		m.Head = b.linear("lm_head", h, v)
	}
	return m
}

// builder makes the layers of a model and lists their parameters.
type builder struct {
	m    *Model
	make func(name string, shape ...int) *ag.Param
}

func (b *builder) param(name string, shape ...int) *ag.Param {
	p := b.make(name, shape...)
	b.m.params = append(b.m.params, p)
	return p
}

// linear makes a projection without bias.
func (b *builder) linear(path string, in, out int) *nn.Linear {
	return &nn.Linear{Weight: b.param(path+".weight", out, in)}
}

// affine makes a projection with bias.
func (b *builder) affine(path string, in, out int) *nn.Linear {
	l := b.linear(path, in, out)
	l.Bias = b.param(path+".bias", out)
	return l
}

func (b *builder) mixer(path string) *Mixer {
	c := b.m.Config
	h, d, n, r, k := c.HiddenSize, c.IntermediateSize, c.StateSize, c.TimeStepRank, c.ConvKernel
	x := &Mixer{ALog: b.param(path+"A_log", d, n), D: b.param(path+"D", d)}
	x.Conv1d = &nn.Conv1d{Weight: b.param(path+"conv1d.weight", d, 1, k), Act: activations[c.HiddenAct]}
	if c.UseConvBias {
		x.Conv1d.Bias = b.param(path+"conv1d.bias", d)
	}
	project := b.linear
	if c.UseBias {
		project = b.affine
	}
	x.InProj = project(path+"in_proj", h, 2*d)
	x.XProj = b.linear(path+"x_proj", d, r+2*n)
	x.DTProj = b.affine(path+"dt_proj", r, d)
	x.OutProj = project(path+"out_proj", d, h)
	return x
}
