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

// GGUFOptions say how a GGUF file is written.
type GGUFOptions struct {
	Type GGUFType // "" is F16
	Name string   // general.name, shown to users; "" leaves it out
	// Note, unless nil, is called with a way in which llama.cpp's result differs from the model's.
	Note func(note string)
	// NotFinite, unless nil, is called with the checkpoint's name of each tensor that gets NaN or infinite numbers.
	NotFinite func(name string)
	// Added are the added tokens that the model's tokenizer has, wherever it has them from; nil: those of tokenizer.json.
	Added []AddedToken
	// BOS and EOS are the tokenizer's ids for the start and the end of a text; nil: those of config.json.
	BOS, EOS *int
	// AddBOS and AddEOS say that the tokenizer puts BOS before and EOS after every text.
	AddBOS, AddEOS bool
	// ChatTemplate is the tokenizer's chat template, for llama.cpp to render conversations; "" leaves it out.
	ChatTemplate string
}

// AddedToken is a token that is found in a text before anything is split.
type AddedToken struct {
	ID      int    `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// ExportGGUF writes the model in directory from, with its tokenizer if it has one, as a GGUF file that llama.cpp runs.
// The file appears whole or not at all; one tensor is in memory at a time. Models that llama.cpp's Mamba cannot express
// are refused: other expansions than 2, biases on the projections, other activations than SiLU, limits of the time step, and
// tokenizers that are neither byte-level BPE nor SentencePiece's BPE. It returns the number of tensors.
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

// WriteGGUF does what [ExportGGUF] does for a model that is not in files: tensors are all that it has, under the names of a
// checkpoint. Those that are blocks of the wanted type already are copied. The tokenizer is that in directory from.
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
	g := &ggufModel{}
	g.describe(c, arch, o)
	if err := g.tokenizer(from, c, o); err != nil {
		return 0, err
	}
	if o.Note != nil {
		if arch.note != "" {
			o.Note(arch.note)
		}
		if err := noteGeneration(from, o); err != nil {
			return 0, err
		}
	}
	g.layout(c, arch, o, func(name string) source { return t.source(found[name]) })
	return g.Len(), atomicfile.Write(file, g.Write)
}

// noteGeneration notes what generation_config.json asks for: llama.cpp takes such settings from its command line. The end of a
// text is among the file's keys.
func noteGeneration(from string, o GGUFOptions) error {
	c, err := loadGeneration(from)
	if c == nil || err != nil {
		return err
	}
	lost := slices.DeleteFunc(c.followed, func(key string) bool {
		return key == "eos_token_id" && (len(c.EOS) == 0 || len(c.EOS) == 1 && (o.EOS == nil || c.EOS[0] == *o.EOS))
	})
	if len(lost) > 0 {
		o.Note("a GGUF file has no place for what " + GenerationConfigFile + " says of " + strings.Join(lost, ", ") + ": give it to llama.cpp as flags")
	}
	return nil
}

// source is where the values of a tensor come from.
type source struct {
	float32s func() ([]float32, error)
	blocks   func(as quant.Type) ([]byte, error) // see [weights.Entry]
}

// ggufArchitecture is how llama.cpp describes models of a family.
type ggufArchitecture struct {
	name string
	keys []ggufKey // after those that every architecture has
	// shape returns the shape that a tensor has there; nil if all keep theirs.
	shape func(name string, shape []int) []int
	note  string // how llama.cpp's result differs from the model's; "" if it does not
}

// ggufKey is a key after the architecture's name, with its value.
type ggufKey struct {
	name  string
	value any
}

// GGUFArchitecture returns llama.cpp's name of the architecture, and an error with what it has no place for.
func (c Config) GGUFArchitecture() (string, error) {
	arch, err := ggufArchitectureOf(c)
	return arch.name, err
}

// ggufArchitectureOf returns an error with what of the model llama.cpp has no place for.
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

// llamaFaults names what llama.cpp's Mambas do not have: another expansion than 2, biases on the projections, another
// activation than SiLU.
func llamaFaults(c Config) (faults fault.List) {
	if c.IntermediateSize != 2*c.HiddenSize {
		faults.Add("intermediate_size", "llama.cpp wants 2·hidden_size = %d, got %d", 2*c.HiddenSize, c.IntermediateSize)
	}
	if c.UseBias {
		faults.Add("use_bias", "llama.cpp's Mamba has no biases on in_proj and out_proj")
	}
	if activations[c.HiddenAct] != kernel.SiLU {
		faults.Add("hidden_act", "llama.cpp's Mamba has silu only, got %s", c.HiddenAct)
	}
	return faults
}

// ggufModel is a model's GGUF file.
type ggufModel struct{ gguf.Writer }

// describe sets the keys that llama.cpp's loader reads.
func (g *ggufModel) describe(c Config, arch ggufArchitecture, o GGUFOptions) {
	g.Set("general.architecture", arch.name)
	g.Set("general.type", "model")
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
		{"context_length", 1 << 20}, // no limit; a number is wanted
		{"embedding_length", c.HiddenSize},
		{"feed_forward_length", 0}, {"attention.head_count", 0}, // there are none; the loader wants them said
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
		values := from.float32s
		dims := shape
		switch {
		case len(shape) == 3: // the convolution (d, 1, k)
			dims = []int{shape[0], shape[2]}
			if !c.UseConvBias { // llama.cpp requires one; zeros do nothing
				zeros = append(zeros, gguf.Tensor{Name: strings.TrimSuffix(t.Name, "weight") + "bias", Dims: shape[:1], Type: quant.F32})
			}
		case arch.shape != nil:
			dims = arch.shape(name, shape)
		}
		t.Dims = slices.Clone(dims)
		slices.Reverse(t.Dims)
		switch {
		case strings.HasSuffix(name, ".A_log"):
			values = func() ([]float32, error) { return negativeExp(from.float32s()) }
		case isMatrix(name, shape):
			t.Type = c.ggufType(o.Type, name, shape)
		}
		g.add(t, from.blocks, func() ([]float32, error) {
			v, err := values()
			if err == nil && o.NotFinite != nil && (!kernel.AllFinite(v) || t.Type == quant.F16 && weights.BeyondFloat16(v)) {
				o.NotFinite(name)
			}
			return v, err
		})
	}
	for _, t := range zeros {
		g.add(t, nil, func() ([]float32, error) { return make([]float32, t.Dims[0]), nil })
	}
}

func (g *ggufModel) add(t gguf.Tensor, blocks func(as quant.Type) ([]byte, error), values func() ([]float32, error)) {
	g.Add(t, func() ([]byte, error) {
		if blocks != nil {
			if b, err := blocks(t.Type); b != nil || err != nil {
				return b, err
			}
		}
		v, err := values()
		if err != nil {
			return nil, err
		}
		return t.Type.Encode(v), nil
	})
}

func negativeExp(v []float32, err error) ([]float32, error) {
	for i, x := range v {
		v[i] = float32(-math.Exp(float64(x)))
	}
	return v, err
}
