package mamba

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/atomicfile"
)

// GGUFType is the type of the projections and the table in a GGUF file, by llama.cpp's name. Norms, biases, A, D and the
// convolution are always float32.
type GGUFType string

// The types that can be written. Q8_0 keeps blocks of 32 numbers in 8 bits each with a half-precision scale; a
// projection whose inputs are no multiple of 32 is written in F16 instead.
const (
	GGUFF32  GGUFType = "F32"
	GGUFF16  GGUFType = "F16"
	GGUFBF16 GGUFType = "BF16"
	GGUFQ8   GGUFType = "Q8_0"
)

// Check says whether t is one of the types that can be written.
func (t GGUFType) Check() error {
	if _, ok := ggufTypes[t]; !ok {
		return fmt.Errorf("mamba: gguf: type %q: want F32, F16, BF16 or Q8_0", t)
	}
	return nil
}

// ggufType is what the format says of a type: its number, its number as the type of a whole file, and the size of a
// block of elements.
type ggufType struct {
	id, file     uint32
	block, bytes int
	encode       func([]float32) []byte
}

var ggufTypes = map[GGUFType]ggufType{
	GGUFF32: {0, 0, 1, 4, encodeF32}, GGUFF16: {1, 1, 1, 2, encodeF16},
	GGUFBF16: {30, 32, 1, 2, encodeBF16}, GGUFQ8: {8, 7, q8Block, q8Block + 2, encodeQ8},
}

// GGUFOptions say how a GGUF file is written.
type GGUFOptions struct {
	Type GGUFType // "" is F16
	Name string   // general.name, shown to users; "" leaves it out
}

// ExportGGUF writes the model in directory from, with its tokenizer if it has one, as a GGUF file that llama.cpp runs.
// The file appears whole or not at all; one tensor is in memory at a time. Models that llama.cpp's Mamba cannot express
// are refused: other expansions than 2, biases on the projections, other activations than SiLU, and tokenizers that are
// not byte-level BPE. It returns the number of tensors.
func ExportGGUF(ctx context.Context, from, file string, o GGUFOptions) (int, error) {
	if o.Type == "" {
		o.Type = GGUFF16
	}
	if err := o.Type.Check(); err != nil {
		return 0, err
	}
	c, err := LoadConfig(from)
	if err != nil {
		return 0, err
	}
	if err := ggufFits(c); err != nil {
		return 0, err
	}
	t, err := openCheckpoint(ctx, from)
	if err != nil {
		return 0, err
	}
	defer t.close()
	found, err := match(&c, t)
	if err != nil {
		return 0, err
	}
	g := &ggufFile{}
	g.describe(c, o)
	if err := g.tokenizer(from, c); err != nil {
		return 0, err
	}
	g.layout(c, o, func(name string) ([]float32, error) { return t.float32s(found[name]) })
	return len(g.tensors), atomicfile.Write(file, g.write)
}

// ggufFits says what of the model llama.cpp has no place for.
func ggufFits(c Config) error {
	var faults []string
	if c.IntermediateSize != 2*c.HiddenSize {
		faults = append(faults, fmt.Sprintf("intermediate_size: llama.cpp wants 2·hidden_size = %d, got %d", 2*c.HiddenSize, c.IntermediateSize))
	}
	if c.UseBias {
		faults = append(faults, "use_bias: llama.cpp's Mamba has no biases on in_proj and out_proj")
	}
	if activations[c.HiddenAct] != kernel.SiLU {
		faults = append(faults, fmt.Sprintf("hidden_act: llama.cpp's Mamba has silu only, got %s", c.HiddenAct))
	}
	if len(faults) > 0 {
		return fmt.Errorf("mamba: gguf: %s", strings.Join(faults, "\n  "))
	}
	return nil
}

// ggufFile is the contents of a GGUF file: keys with their encoded values, and tensors.
type ggufFile struct {
	keys    []string
	values  [][]byte // type and value
	tensors []ggufTensor
}

type ggufTensor struct {
	name   string
	dims   []int // fastest first: the reverse of ours
	as     ggufType
	values func() ([]float32, error)
}

func (t ggufTensor) bytes() int {
	n := 1
	for _, dim := range t.dims {
		n *= dim
	}
	return n / t.as.block * t.as.bytes
}

// describe sets the keys that llama.cpp's loader reads.
func (g *ggufFile) describe(c Config, o GGUFOptions) {
	g.set("general.architecture", "mamba")
	g.set("general.type", "model")
	if o.Name != "" {
		g.set("general.name", o.Name)
	}
	g.set("general.file_type", ggufTypes[o.Type].file)
	g.set("general.quantization_version", uint32(2))
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
		{"ssm.state_size", c.StateSize}, {"ssm.time_step_rank", c.TimeStepRank},
	} {
		g.set("mamba."+k.key, uint32(k.value))
	}
	g.set("mamba.attention.layer_norm_rms_epsilon", float32(c.LayerNormEpsilon))
	g.set("mamba.ssm.dt_b_c_rms", false)
}

// ggufNames are llama.cpp's names of a layer's tensors.
var ggufNames = map[string]string{
	"norm.weight": "attn_norm.weight", "mixer.in_proj.weight": "ssm_in.weight", "mixer.conv1d.weight": "ssm_conv1d.weight",
	"mixer.conv1d.bias": "ssm_conv1d.bias", "mixer.x_proj.weight": "ssm_x.weight", "mixer.dt_proj.weight": "ssm_dt.weight",
	"mixer.dt_proj.bias": "ssm_dt.bias", "mixer.A_log": "ssm_a", "mixer.D": "ssm_d", "mixer.out_proj.weight": "ssm_out.weight",
}

func ggufName(name string) string {
	switch name {
	case tableName:
		return "token_embd.weight"
	case headName:
		return "output.weight"
	case "backbone.norm_f.weight":
		return "output_norm.weight"
	}
	layer, rest, _ := strings.Cut(strings.TrimPrefix(name, "backbone.layers."), ".")
	return "blk." + layer + "." + ggufNames[rest]
}

// layout lists the tensors in checkpoint order.
func (g *ggufFile) layout(c Config, o GGUFOptions, read func(name string) ([]float32, error)) {
	build(c, func(name string, shape ...int) *ag.Param {
		t := ggufTensor{name: ggufName(name), as: ggufTypes[GGUFF32], values: func() ([]float32, error) { return read(name) }}
		for i := len(shape) - 1; i >= 0; i-- {
			if len(shape) < 3 || shape[i] != 1 || i != 1 { // the convolution (d, 1, k) is (d, k)
				t.dims = append(t.dims, shape[i])
			}
		}
		switch {
		case strings.HasSuffix(name, ".A_log"):
			t.values = func() ([]float32, error) { return negativeExp(read(name)) }
		case isMatrix(name, shape):
			t.as = ggufTypes[o.Type]
			if shape[1]%t.as.block != 0 {
				t.as = ggufTypes[GGUFF16]
			}
		}
		g.tensors = append(g.tensors, t)
		return nil
	})
	if c.UseConvBias {
		return
	}
	for i := range c.NumHiddenLayers { // the loader wants a bias; zeros are none
		g.tensors = append(g.tensors, ggufTensor{
			name: fmt.Sprintf("blk.%d.ssm_conv1d.bias", i), dims: []int{c.IntermediateSize}, as: ggufTypes[GGUFF32],
			values: func() ([]float32, error) { return make([]float32, c.IntermediateSize), nil },
		})
	}
}

func negativeExp(v []float32, err error) ([]float32, error) {
	for i, x := range v {
		v[i] = float32(-math.Exp(float64(x)))
	}
	return v, err
}

// ggufAlignment is where tensors may begin in the data.
const ggufAlignment = 32

// write writes the file: a header, the keys, where each tensor lies, and the tensors.
func (g *ggufFile) write(out io.Writer) error {
	head := append([]byte("GGUF"), 3, 0, 0, 0)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(g.tensors)))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(g.keys)))
	for i, key := range g.keys {
		head = append(appendString(head, key), g.values[i]...)
	}
	offset := 0
	for _, t := range g.tensors {
		head = appendString(head, t.name)
		head = binary.LittleEndian.AppendUint32(head, uint32(len(t.dims)))
		for _, dim := range t.dims {
			head = binary.LittleEndian.AppendUint64(head, uint64(dim))
		}
		head = binary.LittleEndian.AppendUint32(head, t.as.id)
		head = binary.LittleEndian.AppendUint64(head, uint64(offset))
		offset += aligned(t.bytes())
	}
	w := bufio.NewWriter(out)
	w.Write(head)
	w.Write(make([]byte, aligned(len(head))-len(head)))
	for _, t := range g.tensors {
		v, err := t.values()
		if err != nil {
			return err
		}
		b := t.as.encode(v)
		if len(b) != t.bytes() {
			return fmt.Errorf("mamba: gguf: %s: %d bytes, want %d", t.name, len(b), t.bytes())
		}
		w.Write(b)
		if _, err := w.Write(make([]byte, aligned(len(b))-len(b))); err != nil {
			return err
		}
	}
	return w.Flush()
}

func aligned(n int) int { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// set adds a key. Its value is a uint32, float32, bool, string, []string or []int32.
func (g *ggufFile) set(key string, value any) {
	id, b := ggufValue(value)
	g.keys = append(g.keys, key)
	g.values = append(g.values, append(binary.LittleEndian.AppendUint32(nil, id), b...))
}

// ggufValue returns a value's type number and its bytes.
func ggufValue(value any) (id uint32, b []byte) {
	switch v := value.(type) {
	case uint32:
		return 4, binary.LittleEndian.AppendUint32(nil, v)
	case int32:
		return 5, binary.LittleEndian.AppendUint32(nil, uint32(v))
	case float32:
		return 6, binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))
	case bool:
		if v {
			return 7, []byte{1}
		}
		return 7, []byte{0}
	case string:
		return 8, appendString(nil, v)
	case []string:
		return 9, appendArray(v)
	case []int32:
		return 9, appendArray(v)
	}
	panic(fmt.Sprintf("mamba: gguf: no type for %T", value))
}

func appendArray[T any](v []T) []byte {
	var one T
	id, _ := ggufValue(one)
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(v)))
	for _, x := range v {
		_, e := ggufValue(x)
		b = append(b, e...)
	}
	return b
}

func encodeF32(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func encodeF16(v []float32) []byte { return encode16(v, kernel.FP16) }

func encodeBF16(v []float32) []byte { return encode16(v, kernel.BF16) }

func encode16(v []float32, round func(float32) uint16) []byte {
	b := make([]byte, 0, 2*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, round(x))
	}
	return b
}

// q8Block is the number of elements that share a scale.
const q8Block = 32

// encodeQ8 writes blocks of a half-precision scale d = max|x|/127 and 32 numbers round(x/d), halves away from zero.
func encodeQ8(v []float32) []byte {
	b := make([]byte, 0, len(v)/q8Block*(q8Block+2))
	for ; len(v) >= q8Block; v = v[q8Block:] {
		top := float32(0)
		for _, x := range v[:q8Block] {
			top = max(top, float32(math.Abs(float64(x))))
		}
		d := top / 127
		inverse := float32(0)
		if d != 0 {
			inverse = 1 / d
		}
		b = binary.LittleEndian.AppendUint16(b, kernel.FP16(d))
		for _, x := range v[:q8Block] {
			b = append(b, byte(int8(math.Round(float64(x*inverse)))))
		}
	}
	return b
}
