package mamba

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"mambatrain/internal/fault"
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

// originalSSM is ssm_cfg: the arguments of the authors' Mamba layer that differ from its defaults.
type originalSSM struct {
	Layer    *string         `json:"layer"`
	DState   *int            `json:"d_state"`
	DConv    *int            `json:"d_conv"`
	Expand   *float64        `json:"expand"`
	DTRank   json.RawMessage `json:"dt_rank"`
	DTMin    *float64        `json:"dt_min"`
	DTMax    *float64        `json:"dt_max"`
	DTInit   *string         `json:"dt_init"`
	DTScale  *float64        `json:"dt_scale"`
	DTFloor  *float64        `json:"dt_init_floor"`
	ConvBias *bool           `json:"conv_bias"`
	Bias     *bool           `json:"bias"`
	FastPath *bool           `json:"use_fast_path"` // which CUDA kernel; no effect on the numbers
}

// ssmKeys are the keys that originalSSM knows: any other one would change the model in an unknown way.
var ssmKeys = []string{"layer", "d_state", "d_conv", "expand", "dt_rank", "dt_min", "dt_max", "dt_init", "dt_scale",
	"dt_init_floor", "conv_bias", "bias", "use_fast_path"}

// parseOriginal turns the configuration of an original checkpoint into transformers' spelling.
func parseOriginal(raw map[string]json.RawMessage) (Config, error) {
	b, err := json.Marshal(raw)
	if err != nil {
		return Config{}, err
	}
	o := originalConfig{VocabSize: 50277, PadMultiple: 8}
	if err := json.Unmarshal(b, &o); err != nil {
		return Config{}, fmt.Errorf("state-spaces configuration: %w", err)
	}
	var s originalSSM
	if len(o.SSM) > 0 {
		if err := json.Unmarshal(o.SSM, &s); err != nil {
			return Config{}, fmt.Errorf("ssm_cfg: %w", err)
		}
	}
	faults := append(o.faults(), s.faults(o.SSM)...)
	c := Default()
	c.DType, c.HiddenSize, c.NumHiddenLayers, c.VocabSize = "", o.DModel, o.NLayer, o.VocabSize
	if o.PadMultiple > 1 && o.VocabSize > 0 && o.VocabSize < maxSize && o.PadMultiple < maxSize {
		c.VocabSize = (o.VocabSize + o.PadMultiple - 1) / o.PadMultiple * o.PadMultiple
	}
	setIf(&c.ResidualInFP32, o.ResidualFP32)
	setIf(&c.TieWordEmbeddings, o.Tie)
	s.into(&c, &faults)
	if len(faults) == 0 {
		faults = c.faults()
	}
	return c, fileError(faults)
}

// faults names what makes an original model something other than Mamba-1.
func (o originalConfig) faults() (faults fault.List) {
	if o.RMSNorm != nil && !*o.RMSNorm {
		faults.Add("rms_norm", "false means LayerNorm, which Mamba-1 of transformers does not have")
	}
	if len(o.Attention) > 0 {
		faults.Add("attn_layer_idx", "layers %v are attention, the model is a hybrid", o.Attention)
	}
	if o.DIntermediate > 0 {
		faults.Add("d_intermediate", "%d means MLP layers, which Mamba-1 does not have", o.DIntermediate)
	}
	return faults
}

func (s originalSSM) faults(raw json.RawMessage) (faults fault.List) {
	if s.Layer != nil && *s.Layer != "Mamba1" {
		faults.Add("ssm_cfg.layer", "%q is another model; want Mamba1", *s.Layer)
		return faults
	}
	var keys map[string]json.RawMessage
	if len(raw) > 0 && json.Unmarshal(raw, &keys) == nil {
		for _, k := range ssmKeys {
			delete(keys, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		faults.Add("ssm_cfg."+k, "is not an argument of Mamba-1")
	}
	return faults
}

// into writes the layer's arguments to c and derives its sizes.
func (s originalSSM) into(c *Config, faults *fault.List) {
	setIf(&c.StateSize, s.DState)
	setIf(&c.ConvKernel, s.DConv)
	setIf(&c.Expand, s.Expand)
	setIf(&c.TimeStepMin, s.DTMin)
	setIf(&c.TimeStepMax, s.DTMax)
	setIf(&c.TimeStepInitScheme, s.DTInit)
	setIf(&c.TimeStepScale, s.DTScale)
	setIf(&c.TimeStepFloor, s.DTFloor)
	setIf(&c.UseConvBias, s.ConvBias)
	setIf(&c.UseBias, s.Bias)
	c.TimeStepRank, c.IntermediateSize = 0, 0
	if len(s.DTRank) > 0 && !isAuto(s.DTRank) {
		if json.Unmarshal(s.DTRank, &c.TimeStepRank) != nil || c.TimeStepRank < 1 {
			faults.Add("ssm_cfg.dt_rank", "want a whole number above 0 or \"auto\", got %s", shorten(s.DTRank))
			return
		}
	}
	c.derive()
}

func setIf[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}
