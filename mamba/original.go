package mamba

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"mambatrain/internal/fault"
	"mambatrain/internal/pyjson"
)

// originalConfig is the config.json of an original state-spaces checkpoint.
type originalConfig struct {
	DModel        int             `json:"d_model"`
	DIntermediate int             `json:"d_intermediate"`
	NLayer        int             `json:"n_layer"`
	VocabSize     int             `json:"vocab_size"`
	PadMultiple   int             `json:"pad_vocab_size_multiple"`
	RMSNorm       *bool           `json:"rms_norm"`
	ResidualFP32  *bool           `json:"residual_in_fp32"`
	Tie           *bool           `json:"tie_embeddings"`
	Attention     []int           `json:"attn_layer_idx"`
	SSM           json.RawMessage `json:"ssm_cfg"`
}

// The files of Mistral's variant of an original checkpoint: its configuration and its weights.
const (
	ParamsFile       = "params.json"
	ConsolidatedFile = "consolidated.safetensors"
)

// parseParams parses Mistral's params.json, which renames the keys of an original configuration. The model is a
// Mamba-2. It keeps transformers' defaults for the ids of special tokens, as in transformers' conversion script:
// unlike the tokenizer of state-spaces, Mistral's ends a text with id 2.
func parseParams(b []byte) (Config, error) {
	var raw map[string]json.RawMessage
	if err := pyjson.Unmarshal(b, &raw); err != nil {
		return Config{}, err
	}
	for name, key := range map[string]string{"dim": "d_model", "n_layers": "n_layer"} {
		if raw[name] == nil {
			return Config{}, fmt.Errorf("%s: is missing; only Mamba models are supported", name)
		}
		raw[key] = raw[name]
	}
	ssm := map[string]any{"layer": "Mamba2"}
	if groups := raw["n_groups"]; groups != nil {
		ssm["ngroups"] = groups
	}
	var err error
	if raw["ssm_cfg"], err = json.Marshal(ssm); err != nil {
		return Config{}, err
	}
	c, err := parseOriginal(raw)
	if err != nil {
		return c, err
	}
	d := mamba2Defaults()
	c.BOSTokenID, c.EOSTokenID, c.PadTokenID = d.BOSTokenID, d.EOSTokenID, d.PadTokenID
	return c, nil
}

// parseOriginal converts the configuration of an original checkpoint to transformers' form.
func parseOriginal(raw map[string]json.RawMessage) (Config, error) {
	b, err := json.Marshal(raw)
	if err != nil {
		return Config{}, err
	}
	o := originalConfig{VocabSize: 50277, PadMultiple: 8}
	if err := json.Unmarshal(b, &o); err != nil {
		return Config{}, fmt.Errorf("state-spaces configuration: %w", err)
	}
	a := arguments{values: map[string]json.RawMessage{}}
	if len(o.SSM) > 0 {
		if err := json.Unmarshal(o.SSM, &a.values); err != nil {
			return Config{}, fmt.Errorf("ssm_cfg: %w", err)
		}
	}
	layer := "Mamba1"
	a.take("layer", &layer)
	f, err := familyOfLayer(layer)
	if err != nil {
		return Config{}, fileError(append(o.faults(), fault.Fault{Path: "ssm_cfg.layer", Problem: err.Error()}))
	}
	c := f.defaults()
	c.TieWordEmbeddings = true // the authors' default, in all families
	c.DType, c.HiddenSize, c.NumHiddenLayers, c.VocabSize = "", o.DModel, o.NLayer, o.VocabSize
	if o.PadMultiple > 1 && o.VocabSize > 0 && o.VocabSize < maxSize && o.PadMultiple < maxSize {
		c.VocabSize = (o.VocabSize + o.PadMultiple - 1) / o.PadMultiple * o.PadMultiple
	}
	setIf(&c.ResidualInFP32, o.ResidualFP32)
	setIf(&c.TieWordEmbeddings, o.Tie)
	f.original(&c, &a)
	c.derive()
	faults := slices.Concat(o.faults(), a.faults, a.unknown(layer))
	if len(faults) == 0 {
		faults = c.faults()
	}
	return c, fileError(faults)
}

// faults reports settings that no family supports.
func (o originalConfig) faults() (faults fault.List) {
	if o.RMSNorm != nil && !*o.RMSNorm {
		faults.Add("rms_norm", "false means LayerNorm, which transformers' models do not have")
	}
	if len(o.Attention) > 0 {
		faults.Add("attn_layer_idx", "layers %v are attention layers: hybrid models are not supported", o.Attention)
	}
	if o.DIntermediate > 0 {
		faults.Add("d_intermediate", "%d means MLP layers, which transformers' models do not have", o.DIntermediate)
	}
	return faults
}

// arguments are those in ssm_cfg, which lists what differs from the defaults of the authors' layer.
type arguments struct {
	values map[string]json.RawMessage
	faults fault.List
}

// take reads an argument into place if it is present and not null. See [field].
func (a *arguments) take(name string, place any) {
	b, ok := a.values[name]
	delete(a.values, name)
	if !ok || string(b) == "null" {
		return
	}
	if problem := (field{name, place}).parse(b); problem != "" {
		a.faults.Add("ssm_cfg."+name, "%s", problem)
	}
}

// ignore drops arguments that affect neither numbers nor shapes.
func (a *arguments) ignore(names ...string) {
	for _, name := range names {
		delete(a.values, name)
	}
}

// unknown reports the remaining arguments: they could change the model.
func (a *arguments) unknown(layer string) (faults fault.List) {
	for _, name := range slices.Sorted(maps.Keys(a.values)) {
		faults.Add("ssm_cfg."+name, "is not an argument of %s", layer)
	}
	return faults
}

// takeCommon reads the arguments shared by all layers.
func (a *arguments) takeCommon(c *Config) {
	a.take("d_state", &c.StateSize)
	a.take("d_conv", &c.ConvKernel)
	a.take("expand", &c.Expand)
	a.take("dt_min", &c.TimeStepMin)
	a.take("dt_max", &c.TimeStepMax)
	a.take("dt_init_floor", &c.TimeStepFloor)
	a.take("conv_bias", &c.UseConvBias)
	a.take("bias", &c.UseBias)
}

func setIf[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}
