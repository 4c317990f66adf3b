package mamba

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/gguf"
	"mambatrain/internal/quant"
	"mambatrain/nn/weights"
)

// GGUFOptions control how a GGUF file is written.
type GGUFOptions struct {
	Type GGUFType // "" means F16
	Name string   // general.name, shown to users; omitted if ""
	// Note, if not nil, is called with each way in which llama.cpp's results differ from the model's.
	Note func(note string)
	// NotFinite, if not nil, is called with the checkpoint's name of each tensor that contains NaN or infinite
	// values in the file. Such a value may have been finite before but too large for the type.
	NotFinite func(name string)
	// Added are the added tokens of the model's tokenizer, from whichever file defines them. If nil, those of
	// tokenizer.json are used.
	Added []AddedToken
	// BOS and EOS are the tokenizer's ids for the start and the end of a text. If nil, those of config.json are used.
	BOS, EOS *int
	// AddBOS and AddEOS are set if the tokenizer puts BOS before and EOS after every text.
	AddBOS, AddEOS bool
	// ChatTemplates are the tokenizer's chat templates. llama.cpp formats conversations with the one named "default".
	ChatTemplates []ChatTemplate
}

// ChatTemplate is a chat template and its name.
type ChatTemplate struct{ Name, Text string }

// AddedToken is a token that is matched in a text before the text is split.
type AddedToken struct {
	ID      int    `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// ExportGGUF writes the model in directory from, with its tokenizer if it has one, as a GGUF file for llama.cpp. The
// file is written atomically, with one tensor in memory at a time. Models that llama.cpp's Mamba cannot represent are
// errors: those with an expansion other than 2, biases on the projections, an activation other than SiLU, a limit on
// the time step, or a tokenizer that is neither byte-level BPE nor SentencePiece BPE. ExportGGUF returns the number
// of tensors.
func ExportGGUF(ctx context.Context, from, file string, o GGUFOptions) (int, error) {
	c, err := LoadConfig(from)
	if err != nil {
		return 0, err
	}
	t, err := openCheckpoint(ctx, from)
	if err != nil {
		return 0, err
	}
	defer t.close()
	return writeGGUF(c, t, from, file, o)
}

// WriteGGUF is like [ExportGGUF] for a model that is not in files: tensors are all of its tensors, under their names
// in a checkpoint. Blocks that already have the requested type are copied. The tokenizer is read from directory from.
func WriteGGUF(ctx context.Context, c Config, tensors []weights.Entry, from, file string, o GGUFOptions) (int, error) {
	return writeGGUF(c, entriesCheckpoint(ctx, tensors), from, file, o)
}

func writeGGUF(c Config, t checkpoint, from, file string, o GGUFOptions) (int, error) {
	if o.Type == "" {
		o.Type = GGUFF16
	}
	if err := o.Type.Validate(); err != nil {
		return 0, err
	}
	arch, err := ggufArchitectureOf(c)
	if err != nil {
		return 0, err
	}
	found, err := match(&c, t)
	if err != nil {
		return 0, err
	}
	generation, err := loadGeneration(from)
	if err != nil {
		return 0, err
	}
	g := &ggufModel{}
	g.describe(c, arch, generation, o)
	if err := g.tokenizer(from, c, o); err != nil {
		return 0, err
	}
	if o.Note != nil {
		if arch.note != "" {
			o.Note(arch.note)
		}
		noteGeneration(c, generation, o)
	}
	g.layout(c, arch, o, func(name string) source { return t.source(found[name]) })
	return g.Len(), atomicfile.Write(file, g.Write)
}

// noteGeneration notes the ids that end a text and the settings of generation_config.json that a GGUF file cannot store.
// llama.cpp takes those settings from its command line. c is nil if there is no generation_config.json.
func noteGeneration(model Config, c *GenerationConfig, o GGUFOptions) {
	stored := o.endOfText(model)
	if c == nil || c.EOS == nil { // texts end as in config.json
		lost := slices.DeleteFunc(slices.Clone(model.EOSTokenID), func(id int) bool { return slices.Contains(stored, id) })
		if len(model.EOSTokenID) > 1 && len(lost) > 0 {
			o.Note(fmt.Sprintf("a GGUF file has only one eos_token_id, %d; llama.cpp does not end a text at the others in config.json: %v", stored[0], lost))
		}
	}
	if c == nil {
		return
	}
	lost := slices.DeleteFunc(slices.Clone(c.followed), func(key string) bool {
		kept := slices.ContainsFunc(ggufSampling, func(s samplingKey) bool { return s.setting == key })
		return kept || key == "eos_token_id" && (len(c.EOS) == 0 || slices.Equal(c.EOS, stored))
	})
	if len(lost) > 0 {
		o.Note("a GGUF file cannot store these settings of " + GenerationConfigFile + ": " + strings.Join(lost, ", ") + "; pass them to llama.cpp as flags")
	}
}

// endOfText returns the id for the end of a text that is stored in the file, or none. The tokenizer's takes precedence
// over those of config.json, which are wrong for some models, such as Codestral.
func (o GGUFOptions) endOfText(c Config) []int {
	if o.EOS != nil {
		return []int{*o.EOS}
	}
	return c.EOSTokenID[:min(1, len(c.EOSTokenID))]
}

// source is where a tensor's values come from.
type source struct {
	float32s func() ([]float32, error)
	blocks   func(as quant.Type) ([]byte, error) // see [weights.Entry]
}

// ggufArchitecture is llama.cpp's description of a family.
type ggufArchitecture struct {
	name string
	keys []ggufKey // in addition to those of every architecture
	// shape returns a tensor's shape in the GGUF file; nil if all shapes are unchanged.
	shape func(name string, shape []int) []int
	note  string // how llama.cpp's results differ from the model's; "" if they do not
}

// ggufKey is a key, without the architecture prefix, and its value.
type ggufKey struct {
	name  string
	value any
}

// GGUFArchitecture returns llama.cpp's name for the architecture, or an error that lists what llama.cpp does not
// support.
func (c Config) GGUFArchitecture() (string, error) {
	arch, err := ggufArchitectureOf(c)
	return arch.name, err
}

// ggufArchitectureOf returns an error that lists what llama.cpp does not support in the model.
func ggufArchitectureOf(c Config) (ggufArchitecture, error) {
	f := c.family()
	if f.gguf == nil {
		return ggufArchitecture{}, fmt.Errorf("mamba: gguf: model_type %s cannot be exported", c.ModelType)
	}
	arch, faults := f.gguf(c)
	if len(faults) > 0 {
		return arch, fmt.Errorf("mamba: gguf: %s", faults.Report())
	}
	return arch, nil
}

// llamaFaults reports what llama.cpp's Mamba architectures do not support: an expansion other than 2, biases on the
// projections, an activation other than SiLU.
func llamaFaults(c Config) (faults fault.List) {
	if c.IntermediateSize != 2*c.HiddenSize {
		faults.Add("intermediate_size", "llama.cpp requires 2·hidden_size = %d, got %d", 2*c.HiddenSize, c.IntermediateSize)
	}
	if c.UseBias {
		faults.Add("use_bias", "llama.cpp's Mamba does not support biases on in_proj and out_proj")
	}
	if activations[c.HiddenAct] != kernel.SiLU {
		faults.Add("hidden_act", "llama.cpp's Mamba supports only silu, got %s", c.HiddenAct)
	}
	return faults
}

// ggufModel is a GGUF file being built.
type ggufModel struct{ gguf.Writer }

// samplingKey is the key in which a GGUF file stores a setting of generation_config.json.
type samplingKey struct {
	setting, key string
	value        func(c *GenerationConfig) any
}

// ggufSampling lists what llama.cpp's converter stores, whether or not the settings turn sampling on: llama.cpp samples
// by default.
var ggufSampling = []samplingKey{
	{"top_k", "general.sampling.top_k", func(c *GenerationConfig) any { return int32(c.TopK) }},
	{"top_p", "general.sampling.top_p", func(c *GenerationConfig) any { return float32(c.TopP) }},
	{"min_p", "general.sampling.min_p", func(c *GenerationConfig) any { return float32(c.MinP) }},
	{"temperature", "general.sampling.temp", func(c *GenerationConfig) any { return float32(c.Temperature) }},
}

// describe sets the keys that llama.cpp's loader reads, and its defaults for sampling if there is a
// generation_config.json.
func (g *ggufModel) describe(c Config, arch ggufArchitecture, generation *GenerationConfig, o GGUFOptions) {
	g.Set("general.architecture", arch.name)
	g.Set("general.type", "model")
	for _, s := range ggufSampling {
		if generation != nil && slices.Contains(generation.given, s.setting) {
			g.Set(s.key, s.value(generation))
		}
	}
	if o.Name != "" {
		g.Set("general.name", o.Name)
	}
	g.Set("general.file_type", ggufTypes[o.Type].file)
	g.Set("general.quantization_version", uint32(2))
	for _, k := range []struct {
		key   string
		value int
	}{
		{"vocab_size", c.VocabSize},
		{"context_length", 1 << 20}, // unlimited, but the key is required
		{"embedding_length", c.HiddenSize},
		{"feed_forward_length", 0}, {"attention.head_count", 0}, // unused, but required by the loader
		{"block_count", c.NumHiddenLayers},
		{"ssm.conv_kernel", c.ConvKernel}, {"ssm.inner_size", c.IntermediateSize},
		{"ssm.state_size", c.StateSize},
	} {
		g.Set(arch.name+"."+k.key, uint32(k.value))
	}
	for _, k := range arch.keys {
		g.Set(arch.name+"."+k.name, k.value)
	}
}

// layout lists the tensors in checkpoint order.
func (g *ggufModel) layout(c Config, arch ggufArchitecture, o GGUFOptions, sourceOf func(name string) source) {
	var zeros []gguf.Tensor
	for _, x := range layout(c) {
		name, shape := x.name, x.shape
		t := gguf.Tensor{Name: gguf.TensorName(name), Type: quant.F32}
		from := sourceOf(name)
		dims := shape
		switch {
		case len(shape) == 3: // the convolution weight (d, 1, k)
			dims = []int{shape[0], shape[2]}
			if !c.UseConvBias { // llama.cpp requires a bias; zeros have no effect
				zeros = append(zeros, gguf.Tensor{Name: strings.TrimSuffix(t.Name, "weight") + "bias", Dims: shape[:1], Type: quant.F32})
			}
		case arch.shape != nil:
			dims = arch.shape(name, shape)
		}
		t.Dims = slices.Clone(dims)
		slices.Reverse(t.Dims)
		switch {
		case strings.HasSuffix(name, ".A_log"):
			read := from.float32s
			from.float32s = func() ([]float32, error) { return negativeExp(read()) }
		case isMatrix(name, shape):
			t.Type = c.ggufType(o.Type, name, shape)
		}
		g.Add(t, func() ([]byte, error) {
			b, finite, err := from.encode(t.Type)
			if err == nil && !finite && o.NotFinite != nil {
				o.NotFinite(name)
			}
			return b, err
		})
	}
	for _, t := range zeros {
		g.Add(t, func() ([]byte, error) { return make([]byte, t.Type.Bytes(t.Dims[0])), nil })
	}
}

// encode returns the values in the stored form of type as, and reports whether they are finite in this form.
func (s source) encode(as quant.Type) (b []byte, finite bool, err error) {
	if s.blocks != nil {
		if b, err := s.blocks(as); b != nil || err != nil {
			return b, err == nil && as.Finite(b), err
		}
	}
	v, err := s.float32s()
	if err != nil {
		return nil, false, err
	}
	b = make([]byte, as.Bytes(len(v)))
	weights.Encode(b, v, as)
	return b, kernel.AllFinite(v) && as.Finite(b), nil
}

func negativeExp(v []float32, err error) ([]float32, error) {
	for i, x := range v {
		v[i] = float32(-math.Exp(float64(x)))
	}
	return v, err
}
