package mamba

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/fault"
	"mambatrain/internal/pyjson"
	"mambatrain/nn"
)

func init() {
	register(&family{
		modelType: "mamba2",
		name:      "Mamba-2",
		sizes: func(c Config) string {
			return fmt.Sprintf("inner %d, state %d, heads %d × %d, groups %d, convolution %d", c.IntermediateSize, c.StateSize, c.NumHeads, c.HeadDim, c.NGroups, c.ConvKernel)
		},
		fromGGUF: &ggufSource{is: func(h *ggufHeader) bool { return h.arch == "mamba2" }, read: mamba2FromGGUF},
		layer:    "Mamba2",
		defaults: mamba2Defaults,
		presets: []preset{
			{name: "mamba2-130m", sizes: mamba2Size(768, 24)}, {name: "mamba2-370m", sizes: mamba2Size(1024, 48)},
			{name: "mamba2-780m", sizes: mamba2Size(1536, 48)}, {name: "mamba2-1.3b", sizes: mamba2Size(2048, 48)},
			{name: "mamba2-2.7b", sizes: mamba2Size(2560, 64)},
			{name: "codestral-7b", sizes: func(*Config) {}}, // the defaults are this model's sizes
		},
		fields:   mamba2Fields,
		derive:   func(c *Config) { c.IntermediateSize = c.expanded() },
		faults:   mamba2Faults,
		mixer:    func(b *builder, path string) ownMixer { return b.mamba2(path) },
		original: mamba2Original,
		gguf:     mamba2GGUF,
	})
}

func mamba2Defaults() Config {
	return Config{
		ModelType: "mamba2", Architectures: []string{"Mamba2ForCausalLM"},
		VocabSize: 32768, HiddenSize: 4096, NumHiddenLayers: 64, StateSize: 128, Expand: 2,
		NumHeads: 128, HeadDim: 64, NGroups: 8, ChunkSize: 256, TimeStepLimit: TimeStepLimit{Max: math.Inf(1)},
		ConvKernel: 4, UseConvBias: true, HiddenAct: "silu", LayerNormEpsilon: 1e-5, ResidualInFP32: true,
		InitializerRange: 0.1, TimeStepMin: 0.001, TimeStepMax: 0.1, TimeStepFloor: 1e-4,
		BOSTokenID: 0, EOSTokenID: TokenIDs{2}, PadTokenID: 1,
		UseCache: true, DType: "float32",
	}
}

// mamba2Size returns the sizes of a state-spaces model.
func mamba2Size(hidden, layers int) func(*Config) {
	return func(c *Config) {
		c.VocabSize, c.HiddenSize, c.NumHiddenLayers = 50288, hidden, layers
		c.NumHeads, c.NGroups = 2*hidden/c.HeadDim, 1
		c.TieWordEmbeddings = true
		c.BOSTokenID, c.EOSTokenID, c.PadTokenID = 0, TokenIDs{0}, 0
	}
}

func mamba2Fields(c *Config) []field {
	return []field{
		{"chunk_size", &c.ChunkSize},
		{"head_dim", &c.HeadDim},
		{"n_groups", &c.NGroups},
		{"num_heads", &c.NumHeads},
		{"time_step_limit", &c.TimeStepLimit},
	}
}

func mamba2Faults(c Config) (faults fault.List) {
	for _, s := range []struct {
		name string
		got  int
	}{{"num_heads", c.NumHeads}, {"head_dim", c.HeadDim}, {"n_groups", c.NGroups}, {"chunk_size", c.ChunkSize}} {
		if s.got < 1 || s.got > maxSize {
			faults.Add(s.name, "must be between 1 and %d, got %d", maxSize, s.got)
		}
	}
	if len(faults) > 0 {
		return faults
	}
	if d := c.IntermediateSize; c.NumHeads*c.HeadDim != d {
		faults.Add("num_heads", "num_heads · head_dim must be expand · hidden_size = %d, got %d · %d", d, c.NumHeads, c.HeadDim)
	}
	if c.NumHeads%c.NGroups != 0 {
		faults.Add("n_groups", "must divide the %d heads, got %d", c.NumHeads, c.NGroups)
	}
	if l := c.TimeStepLimit; !(l.Min >= 0 && l.Min <= l.Max) {
		faults.Add("time_step_limit", "want 0 ≤ lower limit ≤ upper limit, got %s and %s", fault.Number(l.Min), fault.Number(l.Max))
	}
	return faults
}

// mamba2Original reads the arguments of the authors' Mamba2 layer.
func mamba2Original(c *Config, a *arguments) {
	c.BOSTokenID, c.EOSTokenID, c.PadTokenID, c.NGroups = 0, TokenIDs{0}, 0, 1
	a.takeCommon(c)
	a.take("headdim", &c.HeadDim)
	a.take("ngroups", &c.NGroups)
	a.take("chunk_size", &c.ChunkSize)
	a.take("dt_limit", &c.TimeStepLimit)
	if c.HeadDim > 0 {
		c.NumHeads = c.expanded() / c.HeadDim
	}
	for name, want := range map[string]bool{"rmsnorm": true, "norm_before_gate": false, "D_has_hdim": false} {
		got := want
		if a.take(name, &got); got != want {
			a.faults.Add("ssm_cfg."+name, "must be %v, as in transformers' Mamba-2, got %v", want, got)
		}
	}
	narrow := 0
	if a.take("d_ssm", &narrow); narrow != 0 {
		a.faults.Add("ssm_cfg.d_ssm", "must be 0, got %d: the other channels belong to an MLP, which transformers' Mamba-2 does not have", narrow)
	}
	a.ignore("A_init_range", "conv_init", "use_mem_eff_path", "process_group", "sequence_parallel")
}

// mamba2GGUF describes Mamba-2 to llama.cpp: A and D are columns, and the gated norm has a row for each group.
func mamba2GGUF(c Config) (ggufArchitecture, fault.List) {
	faults := llamaFaults(c)
	if l := c.TimeStepLimit; l.Min > 0 || l.Max < math.MaxFloat32 {
		faults.Add("time_step_limit", "llama.cpp does not limit Δ, got %s to %s", fault.Number(l.Min), fault.Number(l.Max))
	}
	keys := []ggufKey{
		{"ssm.time_step_rank", uint32(c.NumHeads)}, {"ssm.group_count", uint32(c.NGroups)},
		{"attention.layer_norm_rms_epsilon", float32(c.LayerNormEpsilon)},
	}
	shape := func(name string, shape []int) []int {
		switch {
		case strings.HasSuffix(name, ".mixer.A_log"), strings.HasSuffix(name, ".mixer.D"):
			return []int{shape[0], 1}
		case strings.HasSuffix(name, ".mixer.norm.weight"):
			return []int{c.NGroups, shape[0] / c.NGroups}
		}
		return shape
	}
	return ggufArchitecture{name: "mamba2", keys: keys, shape: shape}, faults
}

// mamba2FromGGUF reads the keys of Mamba-2. llama.cpp stores the number of heads as the rank of the time step. It
// never limits the time step.
func mamba2FromGGUF(h *ggufHeader, c *Config) {
	h.int("ssm.time_step_rank", &c.NumHeads)
	h.int("ssm.group_count", &c.NGroups)
	if c.NumHeads > 0 {
		c.HeadDim = c.IntermediateSize / c.NumHeads
	}
}

// TimeStepLimit contains the bounds of Δ.
type TimeStepLimit struct {
	Min, Max float64
	text     json.RawMessage // as read; nil if transformers would reject it
}

// UnmarshalJSON parses a list of two numbers. Infinity may be Python's literal, the same word as a string, or
// transformers 5's object.
func (l *TimeStepLimit) UnmarshalJSON(b []byte) error {
	var limits []json.RawMessage
	if err := json.Unmarshal(b, &limits); err != nil {
		return err
	}
	if len(limits) != 2 {
		return errors.New("not two numbers")
	}
	var text bytes.Buffer
	json.Compact(&text, b) // b is valid JSON: no error
	l.text = text.Bytes()
	for i, place := range []*float64{&l.Min, &l.Max} {
		switch limit := string(limits[i]); {
		case limit == "null":
			return errors.New("null is not a number")
		case limit == `"Infinity"`:
			*place, l.text = math.Inf(1), nil
		default:
			if err := json.Unmarshal(limits[i], (*pyjson.Float)(place)); err != nil {
				return err
			}
			if !strings.ContainsAny(limit, ".eE{\"") { // an integer
				l.text = nil
			}
		}
	}
	return nil
}

// MarshalJSON writes the limits as they were read. New limits, and those in a form that transformers rejects, are
// written as valid JSON that every reader accepts: no upper limit is the largest float32.
func (l TimeStepLimit) MarshalJSON() ([]byte, error) {
	var read TimeStepLimit
	if l.text != nil && read.UnmarshalJSON(l.text) == nil && read.Min == l.Min && read.Max == l.Max {
		return l.text, nil
	}
	return json.Marshal([]decimal{decimal(l.Min), decimal(min(l.Max, math.MaxFloat32))})
}

// Mamba2 is the layer of Mamba-2, which is based on state space duality: an entire head decays at a single rate. Dao &
// Gu 2024.
type Mamba2 struct {
	InProj  *nn.Linear // m → 2d+2gn+h: the gate z, x, B, and C of each group, and dt of each head
	Conv1d  *nn.Conv1d // over x, B, and C
	DTBias  *ag.Param  // (h)
	ALog    *ag.Param  // (h): A = −exp(ALog)
	D       *ag.Param  // (h)
	Norm    *nn.GatedRMSNorm
	OutProj *nn.Linear // d → m
	Limit   [2]float64 // of Δ
	// Start (d, n) is the initial S of every document, one head after another. Nil means zeros.
	Start *ag.Param
}

// Forward records the mixer for x (rows, m); the result is (rows, m).
func (m *Mamba2) Forward(x ag.Var) ag.Var {
	g := x.Graph()
	_, gn, _ := m.sizes()

	zxBCdt := m.InProj.Forward(x)
	xBC := m.Conv1d.Forward(zxBCdt)

	y := ag.SSD(ag.SSDInput{
		XBC: xBC, DT: zxBCdt, DTBias: g.Param(m.DTBias), ALog: g.Param(m.ALog), D: g.Param(m.D), Start: g.Param(m.Start),
		Groups: m.Norm.Groups, State: gn / m.Norm.Groups, Limit: m.Limit,
	})
	return m.OutProj.Forward(m.Norm.Forward(y, zxBCdt))
}

// sizes returns d, g·n, and h.
func (m *Mamba2) sizes() (d, gn, h int) {
	d = m.OutProj.In()
	return d, (m.Conv1d.Weight.Shape()[0] - d) / 2, m.ALog.Size()
}

// Apply computes what Forward records.
func (m *Mamba2) Apply(p *Pass) {
	d, gn, h := m.sizes()
	rows := p.X.Rows
	zxBCdt, xBC, y := p.Scratch(2*d+2*gn+h), p.Scratch(d+2*gn), p.Scratch(d)

	m.InProj.Apply(zxBCdt, p.X)
	p.convolve(xBC, zxBCdt.Slice(0, rows, d, 2*d+2*gn), m.Conv1d)

	ssd := kernel.SSD[float32]{
		DTBias: m.DTBias.Float32s(), ALog: m.ALog.Float32s(), D: m.D.Float32s(), Groups: m.Norm.Groups, Limit: m.Limit,
	}
	view := func(from, to int) {
		ssd.X, ssd.DT = xBC.Slice(from, to, 0, d), zxBCdt.Slice(from, to, 2*d+2*gn, zxBCdt.Cols)
		ssd.B, ssd.C = xBC.Slice(from, to, d, d+gn), xBC.Slice(from, to, d+gn, d+2*gn)
	}
	if p.Steps() {
		view(0, rows)
		ssd.Step(y, p.SSM)
	} else {
		for part := range p.Parts() {
			view(part.From, part.To)
			ssd.First, ssd.H0 = part.First, part.SSM
			ssd.Forward(y.Slice(part.From, part.To, 0, d), nil, part.SSM)
		}
	}
	m.Norm.Apply(y, y, zxBCdt.Slice(0, rows, 0, d))
	m.OutProj.ApplyTo(p.Y, y)
}

// StateSize returns the sizes of the last k−1 inputs of the convolution, (k−1, d+2gn), and of S, (h, d/h, n).
func (m *Mamba2) StateSize() (conv, ssm int) {
	d, gn, _ := m.sizes()
	return m.Conv1d.StateSize(), d * gn / m.Norm.Groups
}

// Starts returns the slots for the convolution's initial inputs and the initial S.
func (m *Mamba2) Starts() (conv, ssm nn.Start) {
	d, gn, _ := m.sizes()
	return m.Conv1d.StartPlace(), nn.Start{Param: &m.Start, Shape: []int{d, gn / m.Norm.Groups}}
}

// Params lists the parameters in checkpoint order.
func (m *Mamba2) Params() []*ag.Param {
	return slices.Concat([]*ag.Param{m.DTBias, m.ALog, m.D}, m.Conv1d.Params(), m.InProj.Params(),
		[]*ag.Param{m.Norm.Weight}, m.OutProj.Params())
}

// Slots lists the two projections. The parts of in_proj are named row groups.
func (m *Mamba2) Slots() []nn.Slot {
	d, gn, h := m.sizes()
	return []nn.Slot{
		slot(m.InProj, rowGroups(rowGroup{"z", d}, rowGroup{"x", d}, rowGroup{"B", gn}, rowGroup{"C", gn}, rowGroup{"dt", h})...),
		slot(m.OutProj),
	}
}

func (b *builder) mamba2(path string) *Mamba2 {
	c := b.m.Config
	d, gn, h := c.IntermediateSize, c.NGroups*c.StateSize, c.NumHeads
	m := &Mamba2{DTBias: b.param(path+"dt_bias", h), ALog: b.param(path+"A_log", h), D: b.param(path+"D", h)}
	m.Conv1d = b.conv1d(path+"conv1d", d+2*gn, c.ConvKernel)
	m.Conv1d.From = d // after the gate
	m.InProj = b.projection(path+"in_proj", c.HiddenSize, 2*d+2*gn+h)
	m.Norm = &nn.GatedRMSNorm{Weight: b.param(path+"norm.weight", d), Groups: c.NGroups, Eps: c.LayerNormEpsilon}
	m.OutProj = b.projection(path+"out_proj", d, c.HiddenSize)
	m.Limit = [2]float64{c.TimeStepLimit.Min, c.TimeStepLimit.Max}
	return m
}

func (m *Mamba2) initialize(in *initializer) {
	in.projection(m.InProj.Weight)
	in.conv1d(m.Conv1d)
	in.timeSteps(m.DTBias)
	a := m.ALog.Float32s()
	for i := range a {
		rate := float64(i + 1)
		if in.scheme == InitMambaSSM {
			rate = 1 + 15*in.r.Float64()
		}
		a[i] = float32(math.Log(rate))
	}
	nn.Constant(m.D, 1)
	nn.Constant(m.Norm.Weight, 1)
	in.outProj(m.OutProj.Weight)
}
