package mamba

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/nn"
)

// Init names a way to initialise a model from scratch.
type Init string

const (
	// InitMambaSSM is the authors' initialisation: embeddings N(0, 0.02), projections and convolution as torch draws
	// them, out_proj scaled down by √layers.
	InitMambaSSM Init = "mamba_ssm"
	// InitHF is transformers' since 4.57: embeddings, in_proj and x_proj N(0, initializer_range), which starts training
	// at a higher loss.
	InitHF Init = "hf"
)

// authorsStd is the embeddings' standard deviation in mamba_ssm, where no configuration changes it.
const authorsStd = 0.02

// New returns a model with fresh weights drawn from r and kept as o says, in hardly more memory than they take. The same
// configuration, scheme and source give the same bits.
func New(c Config, scheme Init, r *rand.Rand, o LoadOptions) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mamba: config: %w", err)
	}
	if scheme != InitMambaSSM && scheme != InitHF {
		return nil, fmt.Errorf("mamba: init: want %s or %s, got %q", InitMambaSSM, InitHF, scheme)
	}
	in := initializer{c: c, scheme: scheme, r: r, o: o}
	m, err := in.zeros()
	if err != nil {
		return nil, fmt.Errorf("mamba: %w", err)
	}
	in.table(m.Embeddings.Weight)
	for _, b := range m.Layers {
		nn.Constant(b.Norm.Weight, 1)
		b.Mixer.(ownMixer).initialize(&in)
	}
	nn.Constant(m.NormF.Weight, 1)
	if !m.Tied() {
		in.projection(m.Head.Weight)
	}
	return m, nil
}

type initializer struct {
	c      Config
	scheme Init
	r      *rand.Rand
	o      LoadOptions
	bits   []uint16 // of the weight that is being packed
}

// zeros returns the model before anything is drawn. Weights that are to be kept in bfloat16 or packed share the memory that each
// is drawn into, since finish comes between them.
func (in *initializer) zeros() (m *Model, err error) {
	shared := in.o.Packed || in.o.Precision == BF16
	var drawn []float32
	if shared && in.c.Blocks(in.o.Precision) == "" {
		matrix := largestMatrix(in.c)
		drawn = make([]float32, matrix)
		if in.o.Packed && in.o.Precision == BF16 {
			in.bits = make([]uint16, matrix)
		}
	}
	m = build(in.c, func(name string, shape ...int) *ag.Param {
		as := in.c.kept(in.o.Precision, name, shape)
		n := tensor.Shape(shape).TotalSize()
		switch {
		case as.Block() > 1:
			p, e := ag.NewQuantized(name, as, make([]byte, as.Bytes(n)), shape[0], shape[1])
			err = errors.Join(err, e)
			return p
		case drawn == nil || !isMatrix(name, shape):
			return ag.Zeros(name, shape...)
		}
		return ag.NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(drawn[:n])))
	})
	return m, err
}

// largestMatrix returns the elements of the largest matrix.
func largestMatrix(c Config) (most int) {
	for _, t := range layout(c) {
		if isMatrix(t.name, t.shape) {
			most = max(most, tensor.Shape(t.shape).TotalSize())
		}
	}
	return most
}

// fill lets draw draw a matrix and brings it into the form that it is kept in. A quantized one is made of blocks, in random
// order, of some rows that are drawn.
func (in *initializer) fill(p *ag.Param, draw func(p *ag.Param)) {
	of, blocks, ok := p.Quantized()
	if !ok {
		draw(p)
		in.finish(p)
		return
	}
	const most = 1 << 18 // elements that are drawn and quantized
	columns := p.Shape()[1]
	sample := ag.Zeros(p.Name, min(p.Shape()[0], max(1, most/columns)), columns)
	draw(sample)
	from, size := of.Encode(sample.Float32s()), of.Bytes(of.Block())
	for to := range slices.Chunk(blocks, size) {
		at := in.r.IntN(len(from)/size) * size
		copy(to, from[at:at+size])
	}
}

// finish brings a weight that has been drawn into bfloat16 or the kernels' layout.
func (in *initializer) finish(p *ag.Param) {
	if in.o.Precision == BF16 {
		bits := in.bits
		if bits == nil {
			bits = make([]uint16, p.Size())
		}
		bits = bits[:p.Size()]
		kernel.ToBF16(bits, p.Float32s())
		p.Value = tensor.New(tensor.WithShape(p.Shape()...), tensor.WithBacking(bits))
	}
	if in.o.Packed {
		p.PackOnly()
	}
}

func (in *initializer) table(p *ag.Param) {
	std := in.c.InitializerRange
	if in.scheme == InitMambaSSM {
		std = authorsStd
	}
	in.fill(p, func(p *ag.Param) { nn.Normal(p, std, in.r) })
}

// projection initialises the projections into a mixer and an untied head; their biases stay zero.
func (in *initializer) projection(w *ag.Param) {
	in.fill(w, func(w *ag.Param) {
		if in.scheme == InitHF {
			nn.Normal(w, in.c.InitializerRange, in.r)
		} else {
			nn.FanIn(w, w.Shape()[1], in.r)
		}
	})
}

func (in *initializer) conv1d(c *nn.Conv1d) {
	nn.FanIn(c.Weight, in.c.ConvKernel, in.r)
	if c.Bias != nil && in.scheme == InitMambaSSM {
		nn.FanIn(c.Bias, in.c.ConvKernel, in.r)
	}
}

// outProj initialises the projection back to the residual stream; its bias stays zero.
func (in *initializer) outProj(w *ag.Param) {
	bound := 1 / math.Sqrt(float64(in.c.IntermediateSize))
	if in.scheme == InitMambaSSM || in.c.RescalePrenormResidual {
		bound /= math.Sqrt(float64(in.c.NumHiddenLayers))
	}
	in.fill(w, func(w *ag.Param) { nn.Uniform(w, bound, in.r) })
}

// timeSteps makes Δ = softplus(bias) log-uniform between time_step_min and time_step_max.
func (in *initializer) timeSteps(bias *ag.Param) {
	low, high := math.Log(in.c.TimeStepMin), math.Log(in.c.TimeStepMax)
	b := bias.Float32s()
	for i := range b {
		dt := max(math.Exp(low+in.r.Float64()*(high-low)), in.c.TimeStepFloor)
		b[i] = float32(dt + math.Log(-math.Expm1(-dt))) // the inverse of softplus
	}
}
