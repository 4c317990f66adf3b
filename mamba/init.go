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

// Init is a way to initialize a model from scratch.
type Init string

const (
	// InitMambaSSM is the authors' initialization: embeddings from N(0, 0.02²), projections and convolution as in
	// torch, out_proj divided by √layers.
	InitMambaSSM Init = "mamba_ssm"
	// InitHF is that of transformers since 4.57: embeddings, in_proj, and x_proj from N(0, initializer_range²). The
	// initial loss is higher.
	InitHF Init = "hf"
)

// authorsStd is the standard deviation of the embeddings in mamba_ssm, which is not configurable there.
const authorsStd = 0.02

// New returns a model with random weights drawn from r and stored as o specifies. It needs little memory beyond that
// of the weights. The same configuration, scheme, and random source give identical bits.
func New(c Config, scheme Init, r *rand.Rand, o LoadOptions) (*Model, error) {
	if err := c.prepare(o); err != nil {
		return nil, err
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
	bits   []uint16 // of the weight being packed
}

// zeros returns the model before any weights are drawn. Matrices that will be stored in bfloat16 or packed share one
// float32 buffer, because finish converts each before the next is drawn.
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
			p, e := ag.NewQuantized(name, as, kernel.Make[byte](as.Bytes(n)), shape[0], shape[1])
			err = errors.Join(err, e)
			return p
		case drawn == nil || !isMatrix(name, shape):
			return ag.Zeros(name, shape...)
		}
		return ag.NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(drawn[:n])))
	})
	return m, err
}

// largestMatrix returns the number of elements of the largest matrix.
func largestMatrix(c Config) (largest int) {
	for _, t := range layout(c) {
		if isMatrix(t.name, t.shape) {
			largest = max(largest, tensor.Shape(t.shape).TotalSize())
		}
	}
	return largest
}

// fill calls draw on a matrix and converts it to its stored form. To save time, a quantized matrix is assembled from
// randomly chosen blocks of a few rows drawn and quantized.
func (in *initializer) fill(p *ag.Param, draw func(p *ag.Param)) {
	of, blocks, ok := p.Quantized()
	if !ok {
		draw(p)
		in.finish(p)
		return
	}
	const limit = 1 << 18 // elements to draw and quantize
	columns := p.Shape()[1]
	sample := ag.Zeros(p.Name, min(p.Shape()[0], max(1, limit/columns)), columns)
	draw(sample)
	from, size := of.Encode(sample.Float32s()), of.Bytes(of.Block())
	for to := range slices.Chunk(blocks, size) {
		at := in.r.IntN(len(from)/size) * size
		copy(to, from[at:at+size])
	}
}

// finish converts a weight that has been drawn to bfloat16 or to the kernels' layout.
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

// projection initializes a mixer's input projections and an untied head. Biases remain zero.
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

// outProj initializes the projection back to the residual stream. Its bias remains zero.
func (in *initializer) outProj(w *ag.Param) {
	bound := 1 / math.Sqrt(float64(in.c.IntermediateSize))
	if in.scheme == InitMambaSSM || in.c.RescalePrenormResidual {
		bound /= math.Sqrt(float64(in.c.NumHiddenLayers))
	}
	in.fill(w, func(w *ag.Param) { nn.Uniform(w, bound, in.r) })
}

// timeSteps initializes bias so that Δ = softplus(bias) is log-uniform between time_step_min and time_step_max.
func (in *initializer) timeSteps(bias *ag.Param) {
	low, high := math.Log(in.c.TimeStepMin), math.Log(in.c.TimeStepMax)
	b := bias.Float32s()
	for i := range b {
		dt := max(math.Exp(low+in.r.Float64()*(high-low)), in.c.TimeStepFloor)
		b[i] = float32(dt + math.Log(-math.Expm1(-dt))) // the inverse of softplus
	}
}
