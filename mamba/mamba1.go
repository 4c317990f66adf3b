package mamba

import (
	"fmt"
	"math"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/fault"
	"mambatrain/nn"
)

func init() {
	register(&family{
		modelType: "mamba",
		name:      "Mamba",
		sizes:     mamba1Sizes,
		layer:     "Mamba1",
		defaults:  mamba1Defaults,
		presets: []preset{
			{name: "130m", sizes: mamba1Size(768, 24)}, {name: "370m", sizes: mamba1Size(1024, 48)}, {name: "790m", sizes: mamba1Size(1536, 48)},
			{name: "1.4b", sizes: mamba1Size(2048, 48)}, {name: "2.8b", sizes: mamba1Size(2560, 64)},
		},
		fromGGUF: &ggufSource{is: func(h *ggufHeader) bool { return h.arch == "mamba" && !h.hasNorms() }, read: mamba1FromGGUF},
		fields:   mamba1Fields,
		derive:   deriveInner,
		faults:   mamba1Faults,
		mixer:    func(b *builder, path string) ownMixer { return b.mamba1(path) },
		original: mamba1Original,
		gguf:     mamba1GGUF,
	})
}

func mamba1Defaults() Config {
	return Config{
		ModelType: "mamba", Architectures: []string{"MambaForCausalLM"},
		VocabSize: 50280, HiddenSize: 768, NumHiddenLayers: 32, StateSize: 16, Expand: 2,
		ConvKernel: 4, UseConvBias: true, HiddenAct: "silu", LayerNormEpsilon: 1e-5,
		ResidualInFP32: true, TieWordEmbeddings: true,
		InitializerRange: 0.1, TimeStepScale: 1, TimeStepMin: 0.001, TimeStepMax: 0.1, TimeStepInitScheme: "random",
		TimeStepFloor: 1e-4, EOSTokenID: TokenIDs{0},
		UseCache: true, UseAssociativeScan: true, DType: "float32",
	}
}

func mamba1Size(hidden, layers int) func(*Config) {
	return func(c *Config) { c.HiddenSize, c.NumHiddenLayers = hidden, layers }
}

func mamba1Fields(c *Config) []field {
	return []field{
		{"time_step_init_scheme", &c.TimeStepInitScheme},
		{"time_step_scale", &c.TimeStepScale},
		{"use_associative_scan", &c.UseAssociativeScan},
		{"use_mambapy", &c.UseMambapy},
	}
}

func mamba1Sizes(c Config) string {
	return fmt.Sprintf("inner %d, state %d, Δ rank %d, convolution %d", c.IntermediateSize, c.StateSize, c.TimeStepRank, c.ConvKernel)
}

// deriveInner computes d from expand unless the file sets it.
func deriveInner(c *Config) {
	if c.IntermediateSize == 0 {
		c.IntermediateSize = c.expanded()
	}
}

// expanded returns d as computed from expand. It is capped just above the maximum size, so that it fits an int.
func (c *Config) expanded() int { return int(min(c.Expand*float64(c.HiddenSize), maxSize+1)) }

func mamba1Faults(c Config) (faults fault.List) {
	if s := c.TimeStepInitScheme; s != "random" && s != "constant" {
		faults.Add("time_step_init_scheme", "want random or constant, got %q", s)
	}
	return faults
}

// mamba1Original reads the arguments of the authors' Mamba layer.
func mamba1Original(c *Config, a *arguments) {
	a.takeCommon(c)
	a.take("dt_init", &c.TimeStepInitScheme)
	a.take("dt_scale", &c.TimeStepScale)
	a.ignore("use_fast_path") // selects the CUDA kernel
	if isAuto(a.values["dt_rank"]) {
		a.ignore("dt_rank")
	}
	if _, ok := a.values["dt_rank"]; ok {
		if a.take("dt_rank", &c.TimeStepRank); c.TimeStepRank < 1 {
			a.faults.Add("ssm_cfg.dt_rank", "want a whole number above 0 or \"auto\"")
		}
	}
}

func mamba1GGUF(c Config) (ggufArchitecture, fault.List) {
	return ggufArchitecture{name: "mamba", keys: []ggufKey{
		{"ssm.time_step_rank", uint32(c.TimeStepRank)},
		{"attention.layer_norm_rms_epsilon", float32(c.LayerNormEpsilon)},
		{"ssm.dt_b_c_rms", c.MixerRMSEps > 0},
	}}, llamaFaults(c)
}

// mamba1FromGGUF reads the key that Mamba-2 does not have.
func mamba1FromGGUF(h *ggufHeader, c *Config) { h.int("ssm.time_step_rank", &c.TimeStepRank) }

// Mamba1 is the selective state space layer. Gu & Dao 2023, figure 3.
type Mamba1 struct {
	InProj  *nn.Linear // m → 2d: the branch x and its gate z
	Conv1d  *nn.Conv1d
	XProj   *nn.Linear // d → r+2n: low-rank Δ, B, and C
	DTProj  *nn.Linear // r → d
	ALog    *ag.Param  // (d, n): A = −exp(ALog)
	D       *ag.Param  // (d)
	OutProj *nn.Linear // d → m
	// NormEps is the epsilon of FalconMamba's norms of Δ, B, and C; 0 means no norms.
	NormEps float64
	// Start (d, n) is the initial h of every document. Nil means zeros.
	Start *ag.Param
}

// Forward records the mixer for x (rows, m); the result is (rows, m).
func (m *Mamba1) Forward(x ag.Var) ag.Var {
	g := x.Graph()

	xz := m.InProj.Forward(x)
	u := m.Conv1d.Forward(xz)

	dtBC := m.XProj.Forward(u)
	if m.NormEps > 0 {
		_, n, r := m.sizes()
		dtBC = ag.Normalize(dtBC, m.NormEps, r, n, n)
	}
	dt := m.DTProj.Forward(ag.Columns(dtBC, 0, m.DTProj.In()))

	y := ag.SelectiveScan(ag.ScanInput{U: u, DT: dt, X: dtBC, Z: xz, ALog: g.Param(m.ALog), D: g.Param(m.D), Start: g.Param(m.Start)})
	return m.OutProj.Forward(y)
}

// sizes returns d, n, and r.
func (m *Mamba1) sizes() (d, n, r int) {
	a := m.ALog.Shape()
	return a[0], a[1], m.DTProj.In()
}

// Apply computes what Forward records.
func (m *Mamba1) Apply(p *Pass) {
	d, n, r := m.sizes()
	rows := p.X.Rows
	xz, u, dtBC, dt, y := p.Scratch(2*d), p.Scratch(d), p.Scratch(r+2*n), p.Scratch(d), p.Scratch(d)

	m.InProj.Apply(xz, p.X)
	p.convolve(u, xz.Slice(0, rows, 0, d), m.Conv1d)

	m.XProj.Apply(dtBC, u)
	if m.NormEps > 0 {
		for _, v := range [][2]int{{0, r}, {r, r + n}, {r + n, r + 2*n}} {
			part := dtBC.Slice(0, rows, v[0], v[1])
			kernel.Normalize(part, part, m.NormEps)
		}
	}
	m.DTProj.Apply(dt, dtBC.Slice(0, rows, 0, r))

	scan := kernel.Scan[float32]{ALog: m.ALog.Float32s(), D: m.D.Float32s()}
	view := func(from, to int) {
		scan.U, scan.DT, scan.Z = u.Slice(from, to, 0, d), dt.Slice(from, to, 0, d), xz.Slice(from, to, d, 2*d)
		scan.B, scan.C = dtBC.Slice(from, to, r, r+n), dtBC.Slice(from, to, r+n, r+2*n)
	}
	if p.Steps() {
		view(0, rows)
		scan.Step(y, p.SSM)
	} else {
		for s := range p.Parts() {
			view(s.From, s.To)
			scan.First, scan.H0 = s.First, s.SSM
			scan.Forward(y.Slice(s.From, s.To, 0, d), nil, s.SSM)
		}
	}
	m.OutProj.ApplyTo(p.Y, y)
}

// StateSize returns the sizes of the last k−1 inputs of the convolution, (k−1, d), and of h, (d, n).
func (m *Mamba1) StateSize() (conv, ssm int) {
	return m.Conv1d.StateSize(), m.ALog.Size()
}

// Starts returns the slots for the convolution's initial inputs and the initial h.
func (m *Mamba1) Starts() (conv, ssm nn.Start) {
	return m.Conv1d.StartPlace(), nn.Start{Param: &m.Start, Shape: m.ALog.Shape()}
}

// Params lists the parameters in checkpoint order.
func (m *Mamba1) Params() []*ag.Param {
	return slices.Concat([]*ag.Param{m.ALog, m.D}, m.Conv1d.Params(),
		m.InProj.Params(), m.XProj.Params(), m.DTProj.Params(), m.OutProj.Params())
}

// Slots lists the four projections. The parts of in_proj and x_proj are named row groups.
func (m *Mamba1) Slots() []nn.Slot {
	d, n, r := m.sizes()
	dt := slot(m.DTProj)
	dt.Usual = false // transformers ignores an adapter there
	return []nn.Slot{
		slot(m.InProj, rowGroups(rowGroup{"x", d}, rowGroup{"z", d})...),
		slot(m.XProj, rowGroups(rowGroup{"dt", r}, rowGroup{"B", n}, rowGroup{"C", n})...),
		dt,
		slot(m.OutProj),
	}
}

func (b *builder) mamba1(path string) *Mamba1 {
	c := b.m.Config
	h, d, n, r, k := c.HiddenSize, c.IntermediateSize, c.StateSize, c.TimeStepRank, c.ConvKernel
	m := &Mamba1{ALog: b.param(path+"A_log", d, n), D: b.param(path+"D", d)}
	m.Conv1d = b.conv1d(path+"conv1d", d, k)
	m.InProj = b.projection(path+"in_proj", h, 2*d)
	m.XProj = b.linear(path+"x_proj", d, r+2*n)
	m.DTProj = b.affine(path+"dt_proj", r, d)
	m.OutProj = b.projection(path+"out_proj", d, h)
	return m
}

func (m *Mamba1) initialize(in *initializer) {
	in.projection(m.InProj.Weight)
	in.conv1d(m.Conv1d)
	in.projection(m.XProj.Weight)
	std := in.c.TimeStepScale / math.Sqrt(float64(in.c.TimeStepRank))
	in.fill(m.DTProj.Weight, func(w *ag.Param) {
		if in.c.TimeStepInitScheme == "constant" {
			nn.Constant(w, std)
		} else {
			nn.Uniform(w, std, in.r)
		}
	})
	in.timeSteps(m.DTProj.Bias)
	a, n := m.ALog.Float32s(), in.c.StateSize
	for i := range a {
		a[i] = float32(math.Log(float64(i%n + 1)))
	}
	nn.Constant(m.D, 1)
	in.outProj(m.OutProj.Weight)
}
