package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/pyjson"
	"mambatrain/nn"
)

// File names in an adapter directory.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// IsAdapterFile reports whether name is the name of a file that an adapter is read from.
func IsAdapterFile(name string) bool {
	return name == ConfigFile || name == WeightsFile || name == initialStateFile
}

// peftConfig contains the keys of adapter_config.json that every version of PEFT since 0.9 understands. Only these
// are written, because older versions reject files with unknown keys.
type peftConfig struct {
	AlphaPattern    Pattern[float64] `json:"alpha_pattern"`
	BaseModel       *string          `json:"base_model_name_or_path"`
	Bias            string           `json:"bias"`
	FanInFanOut     bool             `json:"fan_in_fan_out"`
	InferenceMode   bool             `json:"inference_mode"`
	InitLoraWeights Init             `json:"init_lora_weights"`
	LayersPattern   json.RawMessage  `json:"layers_pattern"`
	Layers          Layers           `json:"layers_to_transform"`
	LoraAlpha       float64          `json:"lora_alpha"`
	LoraDropout     float64          `json:"lora_dropout"`
	ModulesToSave   []string         `json:"modules_to_save"`
	PeftType        string           `json:"peft_type"`
	R               int              `json:"r"`
	RankPattern     Pattern[int]     `json:"rank_pattern"`
	Revision        *string          `json:"revision"`
	TargetModules   Targets          `json:"target_modules"`
	TaskType        *string          `json:"task_type"`
	UseDora         bool             `json:"use_dora"`
	UseRSLora       bool             `json:"use_rslora"`
}

// peftFile adds the keys that are read but not written.
type peftFile struct {
	peftConfig
	ExcludeModules   Targets  `json:"exclude_modules"`
	TargetParameters []string `json:"target_parameters"`
	PeftVersion      string   `json:"peft_version"`

	anyTarget bool // target_modules is null: PEFT has defaults for each model family; here the tensors decide
}

// parsePeft parses an adapter_config.json written by any version of PEFT. Keys whose meaning would be lost are
// errors.
func parsePeft(b []byte) (peftFile, error) {
	c := peftFile{peftConfig: peftConfig{R: 8, LoraAlpha: 8, Bias: BiasNone, InitLoraWeights: InitTrue}}
	var raw map[string]json.RawMessage
	if err := pyjson.Unmarshal(b, &raw); err != nil {
		return c, err
	}
	if err := c.readKeys(raw); err != nil {
		return c, err
	}
	c.anyTarget = len(raw["target_modules"]) == 0 || string(raw["target_modules"]) == "null"
	var faults fault.List
	if c.PeftType == "" {
		faults.Add("peft_type", "is missing, want LORA")
	} else if !strings.EqualFold(c.PeftType, "LORA") {
		faults.Add("peft_type", "%q is not supported, want LORA", c.PeftType)
	}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if why, ok := foreign[key]; ok && !absent(raw[key]) {
			faults.Add(key, "%s; merge it with peft", why)
		}
	}
	if !knownInit(c.InitLoraWeights) {
		faults.Add("init_lora_weights", "%s changes the base's weights, so the adapter matches only the changed base; "+
			"save it with path_initial_model_for_weight_conversion", c.InitLoraWeights)
	}
	if len(faults) > 0 {
		return c, errors.New(faults.Report())
	}
	return c, nil
}

// readKeys reads the keys individually, so that an error names its key.
func (p *peftFile) readKeys(raw map[string]json.RawMessage) error {
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		one, err := json.Marshal(map[string]json.RawMessage{key: raw[key]})
		if err != nil {
			return err
		}
		err = json.Unmarshal(one, p)
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) {
			typed.Field = "" // it would show names of Go structs
		}
		if err != nil {
			return fmt.Errorf("%s: %w", fault.Shorten(key, 60), pyjson.Explain(nil, err))
		}
	}
	return nil
}

// foreign are settings of PEFT that change an adapter's computation in ways that are not supported here.
var foreign = map[string]string{
	"alora_invocation_tokens": "the adapter is active only after certain tokens",
	"arrow_config":            "the adapter routes between other adapters",
	"layer_replication":       "layers are repeated",
	"lora_bias":               "B has its own bias",
	"megatron_config":         "the weights are split across devices",
	"monteclora_config":       "the adapter is generated at random",
	"trainable_token_indices": "individual rows of the embedding table are trained",
	"use_bdlora":              "A or B is block-diagonal",
	"use_qalora":              "the branch's inputs are pooled",
	"velora_config":           "the branch's inputs are compressed",
}

// absent reports whether a value is null, false, zero, or empty.
func absent(b json.RawMessage) bool {
	return slices.Contains([]string{"null", "false", "0", "{}", "[]", `""`}, strings.TrimSpace(string(b)))
}

// knownInit reports whether an initialization leaves the base unchanged or can be reproduced.
func knownInit(i Init) bool {
	switch i {
	case InitTrue, InitGaussian, InitPissa, "false", "null", "orthogonal", "eva", "mica":
		return true
	}
	return false
}

// config returns the settings as a Config.
func (p peftFile) config() Config {
	c := Default()
	c.R, c.LoraAlpha, c.LoraDropout = p.R, p.LoraAlpha, p.LoraDropout
	c.TargetModules, c.ExcludeModules, c.LayersToTransform = p.TargetModules, p.ExcludeModules, p.Layers
	c.RankPattern, c.AlphaPattern = p.RankPattern, p.AlphaPattern
	c.Bias, c.UseRSLora, c.UseDora = p.Bias, p.UseRSLora, p.UseDora
	c.ModulesToSave = append([]string{}, p.ModulesToSave...)
	return c
}

// record is what mamba-train stores in the header of the weights in addition to PEFT's settings. Other readers ignore
// it.
type record struct {
	Base   string            `json:"base,omitempty"`       // fingerprint of the base's weights
	Blocks string            `json:"blocks,omitempty"`     // block types of the base's matrices
	Vocab  int               `json:"vocab_size,omitempty"` // see [Adapter.VocabSize]
	Config Config            `json:"config"`               // as given by the user
	Groups map[string][2]int `json:"row_groups,omitempty"`
}

// recordKey is the key of the record in the header's metadata.
const recordKey = "mamba_train"

// peftConfig returns the adapter's settings as PEFT must read them.
func (a *Adapter) peftConfig(o SaveOptions) peftConfig {
	c := a.Config
	task := "CAUSAL_LM"
	p := peftConfig{
		Bias: c.Bias, InferenceMode: true, InitLoraWeights: InitTrue, Layers: c.LayersToTransform,
		LoraAlpha: c.LoraAlpha, LoraDropout: c.LoraDropout, ModulesToSave: c.ModulesToSave, PeftType: "LORA", R: c.R,
		TargetModules: a.fileTargets(), TaskType: &task, UseDora: c.UseDora, UseRSLora: c.UseRSLora,
		RankPattern: c.RankPattern, AlphaPattern: c.AlphaPattern,
	}
	if o.BaseModel != "" {
		p.BaseModel = &o.BaseModel
	}
	if len(p.ModulesToSave) == 0 {
		p.ModulesToSave = nil
	}
	if len(p.Layers) == 0 {
		p.Layers = nil // PEFT rejects an empty list next to a regular expression in target_modules
	}
	a.restate(&p)
	return p
}

// restate replaces the patterns if PEFT would otherwise compute the wrong rank or scale for a layer: InitPissa
// doubles ranks, and PEFT does not support row groups.
func (a *Adapter) restate(p *peftConfig) {
	doubled := func(l *layer) bool { return l.principal != nil }
	switch {
	case slices.ContainsFunc(a.layers, doubled):
		p.R, p.LoraAlpha, p.UseRSLora = 2*p.R, 2*float64(p.R)*a.Config.factor(p.LoraAlpha, p.R), false
	case !slices.ContainsFunc(a.layers, grouped) || len(p.RankPattern)+len(p.AlphaPattern) == 0:
		return
	}
	// The keys are paths without backslashes: before 0.14, PEFT finds a full path only if a key equals it.
	var ranks Pattern[int]
	var alphas Pattern[float64]
	for _, l := range a.layers {
		r := l.adapter.Rank()
		if doubled(l) {
			r *= 2
		}
		alpha := l.adapter.Scale * float64(r)
		if p.UseRSLora {
			alpha = l.adapter.Scale * math.Sqrt(float64(r))
		}
		if r != p.R {
			ranks = append(ranks, PatternEntry[int]{l.Path, r})
		}
		if alpha != p.LoraAlpha {
			alphas = append(alphas, PatternEntry[float64]{l.Path, alpha})
		}
	}
	p.RankPattern, p.AlphaPattern = ranks, alphas
}

// grouped reports whether the adapter changes only some rows.
func grouped(l *layer) bool { return l.adapter.To > 0 }

// fileTargets names the adapted modules for PEFT, which does not support row groups, and exclude_modules and
// all-linear only in some versions.
func (a *Adapter) fileTargets() Targets {
	t := a.Config.TargetModules
	if !slices.ContainsFunc(a.layers, grouped) && !t.allLinear() && a.Config.ExcludeModules.empty() {
		return t
	}
	var paths []string
	for _, l := range a.layers {
		paths = append(paths, l.Path)
	}
	chosen := slices.DeleteFunc(a.model.Slots(), func(s nn.Slot) bool { return !onLayer(s.Path, a.Config.LayersToTransform) })
	return named(paths, chosen)
}
