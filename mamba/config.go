package mamba

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/pyjson"
	"mambatrain/internal/quant"
	"mambatrain/nn/weights"
)

// ConfigFile is the name of a model's configuration in its directory.
const ConfigFile = "config.json"

// NoToken represents a token id that is null in the configuration.
const NoToken = -1

// Config is a model's config.json: the fields of transformers' configuration classes, under the same names. ModelType
// determines which fields a file contains. Unknown keys are preserved from load to save. [Default] returns the values
// of absent keys for Mamba-1.
type Config struct {
	ModelType string // mamba, …

	VocabSize        int // v, rows of the embedding table; ids without a token pad it to a round number
	HiddenSize       int // m
	NumHiddenLayers  int
	StateSize        int     // n
	Expand           float64 // d = ⌊Expand·HiddenSize⌋ unless the file sets intermediate_size
	IntermediateSize int     // d
	ConvKernel       int     // k
	TimeStepRank     int     // r; "auto" in a file is ⌈HiddenSize/16⌉
	UseBias          bool    // in_proj and out_proj have a bias
	UseConvBias      bool
	HiddenAct        string // after the convolution; the gate is always SiLU
	LayerNormEpsilon float64
	// ResidualInFP32 has no effect here: the residual stream is always float32.
	ResidualInFP32    bool
	TieWordEmbeddings bool // the head shares the embedding table

	// Sizes of Mamba-2, where d = NumHeads·HeadDim.
	NumHeads int // h
	HeadDim  int // p
	NGroups  int // g; the heads of a group share B and C
	// ChunkSize is for programs that split documents into chunks of this length. Here the kernel chooses.
	ChunkSize     int
	TimeStepLimit TimeStepLimit // of Δ in Mamba-2

	// MixerRMSEps is the epsilon of FalconMamba's norms of Δ, B, and C.
	MixerRMSEps float64

	// Settings for initialization; see [New].
	InitializerRange       float64
	RescalePrenormResidual bool
	TimeStepScale          float64
	TimeStepMin            float64
	TimeStepMax            float64
	TimeStepInitScheme     string // random | constant
	TimeStepFloor          float64

	BOSTokenID int // NoToken: null
	EOSTokenID TokenIDs
	PadTokenID int // NoToken: null

	UseCache           bool
	UseMambapy         bool
	UseAssociativeScan bool
	DType              string // float32 | bfloat16 | float16: the type of the weights in the files; "" if unspecified
	Architectures      []string

	blocks map[string]quant.Type // block types of a GGUF file's quantized matrices, by parameter name

	// Extra contains unknown keys as they were read, except that numbers such as Infinity are replaced; see
	// [pyjson.Clean].
	Extra map[string]json.RawMessage
}

// TokenIDs is null, a single id, or a list of ids in JSON.
type TokenIDs []int

// Default returns transformers' defaults for Mamba-1, used for keys that a file omits.
func Default() Config {
	c := mamba1Defaults()
	c.derive()
	return c
}

// LoadConfig reads config.json from a model directory, or the file named by path, or the keys of a GGUF file. A
// directory without config.json may contain Mistral's params.json. All faults are reported together. The error for a
// model of another family names that family.
func LoadConfig(path string) (Config, error) {
	if IsGGUF(path) {
		return loadGGUFConfig(path)
	}
	parse := parseConfig
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		dir := path
		if path = filepath.Join(dir, ConfigFile); !exists(path) && exists(filepath.Join(dir, ParamsFile)) {
			path, parse = filepath.Join(dir, ParamsFile), parseParams
		}
	}
	b, err := inputfile.Read(path, inputfile.MaxConfig)
	if err != nil {
		return Config{}, fmt.Errorf("mamba: config: %w", err)
	}
	c, err := parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("mamba: %s: %w", path, err)
	}
	return c, nil
}

// parseConfig parses a config.json in the format of transformers or of the original state-spaces checkpoints.
func parseConfig(b []byte) (Config, error) {
	var raw map[string]json.RawMessage
	if err := pyjson.Unmarshal(b, &raw); err != nil {
		return Config{}, err
	}
	if raw == nil {
		return Config{}, errors.New("want an object, got null")
	}
	if err := refuseQuantized(raw); err != nil {
		return Config{}, err
	}
	if _, named := raw["hidden_size"]; !named && raw["d_model"] != nil {
		return parseOriginal(raw)
	}
	f, err := named(raw)
	if err != nil {
		return Config{}, err
	}
	c := f.defaults()
	faults := c.read(raw)
	if len(faults) == 0 {
		faults = c.faults()
	}
	return c, fileError(faults)
}

// fileError returns the faults of a file as an error about the file, or nil if there are none. It is not a
// [fault.List], which is for invalid settings.
func fileError(faults fault.List) error {
	if len(faults) == 0 {
		return nil
	}
	return errors.New(faults.Report())
}

// read removes every known key from raw and stores the others in Extra.
func (c *Config) read(raw map[string]json.RawMessage) (faults fault.List) {
	c.DType = ""
	if isAuto(raw["time_step_rank"]) {
		raw["time_step_rank"] = json.RawMessage("0")
	}
	if raw["dtype"] == nil && raw["torch_dtype"] != nil {
		raw["dtype"] = raw["torch_dtype"]
	}
	delete(raw, "torch_dtype")
	for old, name := range c.family().aliases {
		if _, ok := raw[old]; ok {
			raw[name] = raw[old]
		}
	}
	for _, f := range c.fields() {
		b, ok := raw[f.name]
		delete(raw, f.name)
		if !ok {
			continue
		}
		if problem := f.parse(b); problem != "" {
			faults.Add(f.name, "%s", problem)
		}
	}
	delete(raw, "model_type")
	delete(raw, "transformers_version")
	if len(raw) > 0 {
		c.Extra = raw
	}
	c.derive()
	return faults
}

// derive computes the sizes that the file omits from the others.
func (c *Config) derive() {
	c.family().derive(c)
	if c.TimeStepRank == 0 {
		c.TimeStepRank = (c.HiddenSize + 15) / 16
	}
}

func isAuto(b json.RawMessage) bool {
	var s string
	return json.Unmarshal(b, &s) == nil && s == "auto"
}

// named returns the family that a configuration names, or Mamba-1 if it names none.
func named(raw map[string]json.RawMessage) (*family, error) {
	kind := Default().ModelType
	if b, ok := raw["model_type"]; ok {
		if err := json.Unmarshal(b, &kind); err != nil {
			return nil, fmt.Errorf("model_type: want a string, got %s", shorten(b))
		}
	}
	return familyOf(kind)
}

// refuseQuantized returns an error that names the quantization method if the weights are quantized.
func refuseQuantized(raw map[string]json.RawMessage) error {
	b, ok := raw["quantization_config"]
	if !ok || string(b) == "null" {
		return nil
	}
	var q struct {
		Method string `json:"quant_method"`
	}
	if json.Unmarshal(b, &q) != nil || q.Method == "" {
		q.Method = "an unnamed method"
	}
	return fmt.Errorf("quantization_config: the weights are quantized with %s; only float32, bfloat16, and float16 are supported", q.Method)
}

// field associates a key of config.json with a field of Config.
type field struct {
	name  string
	place any // *int, *float64, *bool, *string, *TokenIDs, *[]string; *tokenID, *TimeStepLimit
}

type tokenID int

// fields is the single list of known keys, for reading and for writing.
func (c *Config) fields() []field {
	return append(c.family().fields(c), []field{
		{"architectures", &c.Architectures},
		{"bos_token_id", (*tokenID)(&c.BOSTokenID)},
		{"conv_kernel", &c.ConvKernel},
		{"dtype", &c.DType},
		{"eos_token_id", &c.EOSTokenID},
		{"expand", &c.Expand},
		{"hidden_act", &c.HiddenAct},
		{"hidden_size", &c.HiddenSize},
		{"initializer_range", &c.InitializerRange},
		{"intermediate_size", &c.IntermediateSize},
		{"layer_norm_epsilon", &c.LayerNormEpsilon},
		{"num_hidden_layers", &c.NumHiddenLayers},
		{"pad_token_id", (*tokenID)(&c.PadTokenID)},
		{"rescale_prenorm_residual", &c.RescalePrenormResidual},
		{"residual_in_fp32", &c.ResidualInFP32},
		{"state_size", &c.StateSize},
		{"tie_word_embeddings", &c.TieWordEmbeddings},
		{"time_step_floor", &c.TimeStepFloor},
		{"time_step_max", &c.TimeStepMax},
		{"time_step_min", &c.TimeStepMin},
		{"time_step_rank", &c.TimeStepRank},
		{"use_bias", &c.UseBias},
		{"use_cache", &c.UseCache},
		{"use_conv_bias", &c.UseConvBias},
		{"vocab_size", &c.VocabSize},
	}...)
}

var errNull = errors.New("null")

// parse parses a value into the field and returns what is wrong with it, or "".
func (f field) parse(b json.RawMessage) string {
	null := string(b) == "null"
	var err error
	want := ""
	switch p := f.place.(type) {
	case *tokenID:
		*p, want = NoToken, "a whole number or null"
		if !null {
			err = json.Unmarshal(b, (*int)(p))
		}
	case *TokenIDs:
		want = "a whole number, a list of whole numbers, or null"
		err = p.parse(b)
	case *TimeStepLimit:
		want = "a list of two numbers"
		err = json.Unmarshal(b, p)
	case *[]string:
		want = "a list of strings"
		err = json.Unmarshal(b, p)
	case *int:
		want = "a whole number"
		err = json.Unmarshal(b, p)
	case *float64:
		want = "a number"
		err = json.Unmarshal(b, p)
	case *bool:
		want = "true or false"
		err = json.Unmarshal(b, p)
	case *string:
		want = "a string"
		err = json.Unmarshal(b, p)
	}
	switch f.place.(type) {
	case *int, *float64, *bool:
		if null {
			err = errNull
		}
	case *string:
		if null && f.name != "dtype" {
			err = errNull
		}
	}
	if err != nil {
		return fmt.Sprintf("want %s, got %s", want, shorten(b))
	}
	return ""
}

func (t *TokenIDs) parse(b json.RawMessage) error {
	var one int
	if string(b) == "null" {
		*t = nil
		return nil
	}
	if json.Unmarshal(b, &one) == nil {
		*t = TokenIDs{one}
		return nil
	}
	var ids []int
	if err := json.Unmarshal(b, &ids); err != nil {
		return err
	}
	if *t = ids; len(ids) == 0 { // an empty list means the same as null
		*t = nil
	}
	return nil
}

// MarshalJSON writes null, one id, or a list, as transformers does.
func (t TokenIDs) MarshalJSON() ([]byte, error) {
	switch len(t) {
	case 0:
		return []byte("null"), nil
	case 1:
		return json.Marshal(t[0])
	}
	return json.Marshal([]int(t))
}

func (id tokenID) MarshalJSON() ([]byte, error) {
	if id == NoToken {
		return []byte("null"), nil
	}
	return json.Marshal(int(id))
}

func shorten(b []byte) string { return fault.Shorten(string(pyjson.Restore(b)), 60) }

// Upper bounds, far above any real model. They keep products of sizes from overflowing.
const (
	maxSize   = 1 << 26
	maxLayers = 1 << 14
	maxKernel = 1 << 10
	// maxTensor is the largest tensor, in elements: 32 GiB of float32.
	maxTensor = 1 << 33
)

// Validate returns a [fault.List] of everything that is wrong with the configuration, by the keys of config.json, or
// nil if it is valid.
func (c Config) Validate() error { return c.faults().Err() }

func (c Config) faults() (faults fault.List) {
	f, err := familyOf(c.ModelType)
	if err != nil {
		return fault.List{{Problem: err.Error()}}
	}
	for _, s := range []struct {
		name     string
		got, max int
	}{
		{"vocab_size", c.VocabSize, maxSize}, {"hidden_size", c.HiddenSize, maxSize},
		{"num_hidden_layers", c.NumHiddenLayers, maxLayers}, {"state_size", c.StateSize, maxSize},
		{"intermediate_size", c.IntermediateSize, maxSize}, {"conv_kernel", c.ConvKernel, maxKernel},
		{"time_step_rank", c.TimeStepRank, maxSize},
	} {
		if s.got < 1 || s.got > s.max {
			faults.Add(s.name, "must be between 1 and %d, got %d", s.max, s.got)
		}
	}
	if _, ok := activations[c.HiddenAct]; !ok {
		faults.Add("hidden_act", "want one of %s, got %q", strings.Join(activationNames(), ", "), c.HiddenAct)
	}
	faults.Positive("layer_norm_epsilon", c.LayerNormEpsilon)
	faults.Positive("expand", c.Expand)
	if !(c.TimeStepMin > 0 && c.TimeStepMax >= c.TimeStepMin) {
		faults.Add("time_step_min, time_step_max", "want 0 < min ≤ max, got %s and %s", fault.Number(c.TimeStepMin), fault.Number(c.TimeStepMax))
	}
	if c.TimeStepFloor < 0 || c.InitializerRange < 0 {
		faults.Add("time_step_floor, initializer_range", "must not be negative, got %s and %s", fault.Number(c.TimeStepFloor), fault.Number(c.InitializerRange))
	}
	if c.DType != "" {
		if _, err := weights.ParseDType(c.DType); err != nil {
			faults.Add("dtype", "want float32, bfloat16, or float16, got %q", c.DType)
		}
	}
	for _, id := range append(slices.Clone(c.EOSTokenID), c.BOSTokenID, c.PadTokenID) {
		if id < NoToken || id >= maxSize {
			faults.Add("token ids", "%d is out of range", id)
		}
	}
	faults = append(faults, f.faults(c)...)
	if len(faults) == 0 {
		faults = c.tooLarge()
	}
	return faults
}

// tooLarge reports tensors larger than in any real model.
func (c Config) tooLarge() (faults fault.List) {
	c.NumHiddenLayers = 1
	for _, t := range layout(c) {
		rows, width := t.shape[0], tensor.Shape(t.shape[1:]).TotalSize()
		if rows > maxTensor/width {
			faults.Add("sizes", "a tensor of %d × %d is larger than any model's", rows, width)
		}
	}
	return faults
}

// activations maps transformers' names of activation functions to those that can follow the convolution.
var activations = map[string]kernel.Activation{
	"silu": kernel.SiLU, "swish": kernel.SiLU,
	"gelu": kernel.GELU, "gelu_new": kernel.GELUTanh, "gelu_pytorch_tanh": kernel.GELUTanh,
	"relu": kernel.ReLU, "tanh": kernel.Tanh, "sigmoid": kernel.Sigmoid, "linear": kernel.Identity,
}

func activationNames() []string {
	names := make([]string, 0, len(activations))
	for name := range activations {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// MarshalJSON writes the configuration as transformers 5.23 does: known and extra keys in one sorted object.
func (c Config) MarshalJSON() ([]byte, error) {
	out := map[string]any{"model_type": c.ModelType, "transformers_version": "5.23.0"}
	for name, raw := range c.Extra {
		out[name] = raw
	}
	for _, f := range c.fields() {
		out[f.name] = f.place
		if x, ok := f.place.(*float64); ok {
			out[f.name] = decimal(*x)
		}
	}
	if c.DType == "" {
		delete(out, "dtype")
	}
	// Expand is an integer in every published file, so an integral value is written as one.
	if c.Expand == math.Trunc(c.Expand) && math.Abs(c.Expand) < maxSize {
		out["expand"] = int(c.Expand)
	}
	return json.Marshal(out)
}

// decimal is a number that is written with a decimal point even if it is integral: transformers rejects an integer
// for time_step_scale.
type decimal float64

func (d decimal) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(float64(d))
	if err == nil && !bytes.ContainsAny(b, ".e") {
		b = append(b, ".0"...)
	}
	return b, err
}

// Save writes the configuration to config.json in dir, atomically.
func (c Config) Save(dir string) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("mamba: config: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return fmt.Errorf("mamba: config: %w", err)
	}
	out.WriteByte('\n')
	if err := atomicfile.WriteFile(filepath.Join(dir, ConfigFile), pyjson.Restore(out.Bytes())); err != nil {
		return fmt.Errorf("mamba: %w", err)
	}
	return nil
}
