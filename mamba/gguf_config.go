package mamba

import (
	"fmt"
	"strconv"

	"mambatrain/internal/fault"
	"mambatrain/internal/gguf"
	"mambatrain/internal/quant"
)

// IsGGUF reports whether path names a GGUF file.
func IsGGUF(path string) bool { return gguf.IsModel(path) }

// ggufHeader reads a configuration from the keys of a GGUF file. They contain less than config.json: the missing
// settings are transformers' defaults, which llama.cpp uses too.
type ggufHeader struct {
	*gguf.File
	arch   string
	faults fault.List
}

// loadGGUFConfig returns the configuration of a model in a GGUF file.
func loadGGUFConfig(path string) (Config, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("mamba: %w", err)
	}
	defer f.Close()
	h := &ggufHeader{File: f}
	h.arch, _ = f.Key("general.architecture").(string)
	if kind, ok := f.Key("general.type").(string); ok && kind != "model" {
		return Config{}, fmt.Errorf("mamba: %s: is an %s, want a model", path, kind)
	}
	for _, family := range families {
		if family.fromGGUF == nil || !family.fromGGUF.is(h) {
			continue
		}
		c := family.defaults()
		h.common(&c)
		if family.fromGGUF.read != nil {
			family.fromGGUF.read(h, &c)
		}
		if len(h.faults) == 0 {
			c.derive()
			h.faults = c.faults()
		}
		if err := fileError(h.faults); err != nil {
			return Config{}, fmt.Errorf("mamba: %s: %w", path, err)
		}
		return c, nil
	}
	return Config{}, fmt.Errorf("mamba: %s: general.architecture: %q is not supported; want mamba or mamba2", path, h.arch)
}

// ggufSource identifies a family's GGUF files and reads the family's own keys; read may be nil.
type ggufSource struct {
	is   func(h *ggufHeader) bool
	read func(h *ggufHeader, c *Config)
}

// common reads the keys of every architecture.
func (h *ggufHeader) common(c *Config) {
	h.int("embedding_length", &c.HiddenSize)
	h.int("block_count", &c.NumHiddenLayers)
	h.int("ssm.inner_size", &c.IntermediateSize)
	h.int("ssm.conv_kernel", &c.ConvKernel)
	h.int("ssm.state_size", &c.StateSize)
	if c.HiddenSize > 0 {
		c.Expand = float64(c.IntermediateSize) / float64(c.HiddenSize)
	}
	if eps, ok := h.Key(h.arch + ".attention.layer_norm_rms_epsilon").(float64); ok {
		// The shortest decimal that gives this float32 is the value in config.json.
		c.LayerNormEpsilon, _ = strconv.ParseFloat(strconv.FormatFloat(eps, 'g', -1, 32), 64)
	}
	c.TieWordEmbeddings = true
	c.VocabSize = 0
	c.blocks = map[string]quant.Type{}
	for _, t := range h.Tensors {
		if t.Type.Block() > 1 {
			name, _ := h.Parameter(t.Tensor)
			c.blocks[name] = t.Type
		}
		switch t.Name {
		case "output.weight":
			c.TieWordEmbeddings = false
		case "token_embd.weight":
			c.VocabSize, c.DType = t.Dims[len(t.Dims)-1], "float32"
		}
	}
	if c.VocabSize == 0 {
		h.faults.Add("token_embd.weight", "is missing")
	}
	c.UseBias, c.UseConvBias, c.HiddenAct = false, true, "silu"
	c.BOSTokenID, c.PadTokenID, c.EOSTokenID = h.token("bos"), h.token("padding"), nil
	if id := h.token("eos"); id != NoToken {
		c.EOSTokenID = TokenIDs{id}
	}
}

// int reads a key with the architecture prefix.
func (h *ggufHeader) int(key string, to *int) {
	n, ok := h.Int(h.arch + "." + key)
	if !ok {
		h.faults.Add(h.arch+"."+key, "want a whole number, got %v", h.Key(h.arch+"."+key))
	}
	*to = n
}

func (h *ggufHeader) token(name string) int {
	if id, ok := h.Int("tokenizer.ggml." + name + "_token_id"); ok {
		return id
	}
	return NoToken
}

// hasNorms reports whether Δ, B, and C are normalized.
func (h *ggufHeader) hasNorms() bool {
	yes, _ := h.Key(h.arch + ".ssm.dt_b_c_rms").(bool)
	return yes
}
