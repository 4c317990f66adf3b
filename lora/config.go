package lora

import (
	"fmt"
	"math"
	"slices"

	"mambatrain/internal/fault"
	"mambatrain/nn"
)

// Config mirrors the lora block of the configuration. Names and meanings are those of peft.LoraConfig.
// TargetParameters, InitialState, and LoraPlusRatio are specific to mamba-train.
type Config struct {
	R                 int              `yaml:"r" json:"r"`
	LoraAlpha         float64          `yaml:"lora_alpha" json:"lora_alpha"`
	LoraDropout       float64          `yaml:"lora_dropout" json:"lora_dropout"` // fraction of the adapter branch's inputs that are dropped; never on embeddings
	TargetModules     Targets          `yaml:"target_modules" json:"target_modules"`
	TargetParameters  []string         `yaml:"target_parameters" json:"target_parameters"` // trained in full, in addition to the adapters
	ExcludeModules    Targets          `yaml:"exclude_modules" json:"exclude_modules"`
	LayersToTransform Layers           `yaml:"layers_to_transform" json:"layers_to_transform"` // empty: all
	RankPattern       Pattern[int]     `yaml:"rank_pattern" json:"rank_pattern"`
	AlphaPattern      Pattern[float64] `yaml:"alpha_pattern" json:"alpha_pattern"`
	Bias              string           `yaml:"bias" json:"bias"` // none | all | lora_only
	UseRSLora         bool             `yaml:"use_rslora" json:"use_rslora"`
	UseDora           bool             `yaml:"use_dora" json:"use_dora"`
	InitLoraWeights   Init             `yaml:"init_lora_weights" json:"init_lora_weights"`
	ModulesToSave     []string         `yaml:"modules_to_save" json:"modules_to_save"` // trained in full and saved
	InitialState      bool             `yaml:"initial_state" json:"initial_state"`     // train the state that documents start from
	LoraPlusRatio     float64          `yaml:"lora_plus_ratio" json:"lora_plus_ratio"` // learning rate of B relative to that of A
}

// Values of [Config.Bias].
const (
	BiasNone     = "none"
	BiasAll      = "all"
	BiasLoraOnly = "lora_only"
)

// Init is the initialization of A and B.
type Init string

const (
	// InitTrue is PEFT's default: A from U(±1/√in) and B zero. For an embedding, A is zero and B is from N(0, 1).
	InitTrue Init = "true"
	// InitGaussian draws A from N(0, 1/r²); B is zero.
	InitGaussian Init = "gaussian"
	// InitPissa initializes A and B with the r largest singular components of the weight and removes these from it
	// (Meng et al. 2024). Embeddings are initialized as with InitTrue. The saved adapter is a plain one of rank 2r
	// for the original weight.
	InitPissa Init = "pissa"
)

// Default returns the settings of an empty lora block: PEFT's defaults, with the model's usual targets.
func Default() Config {
	return Config{
		R: 8, LoraAlpha: 8,
		TargetModules:    Targets{Pattern: auto},
		TargetParameters: []string{},
		Bias:             BiasNone,
		InitLoraWeights:  InitTrue,
		ModulesToSave:    []string{},
		LoraPlusRatio:    1,
	}
}

// maxRank is larger than any matrix of a published model can use.
const maxRank = 1 << 16

// Validate returns a [fault.List] of all settings that are invalid by themselves, in the order of the configuration,
// or nil. [Inject] checks the names against the model.
func (c Config) Validate() error {
	var faults fault.List
	rank := func(key string, r int) {
		if r < 1 {
			faults.Add(key, "must be at least 1, got %d", r)
		} else if r > maxRank {
			faults.Add(key, "must be at most %d, got %d", maxRank, r)
		}
	}
	rank("r", c.R)
	faults.Positive("lora_alpha", c.LoraAlpha)
	faults.Fraction("lora_dropout", c.LoraDropout)
	c.validateSelection(&faults)
	for _, e := range c.RankPattern {
		rank("rank_pattern."+e.Key, e.Value)
	}
	for _, e := range c.AlphaPattern {
		faults.Positive("alpha_pattern."+e.Key, e.Value)
	}
	faults.OneOf("bias", c.Bias, BiasNone, BiasAll, BiasLoraOnly)
	faults.OneOf("init_lora_weights", string(c.InitLoraWeights), string(InitTrue), string(InitGaussian), string(InitPissa))
	if c.InitLoraWeights == InitPissa && c.UseDora {
		faults.Add("use_dora", "cannot be combined with init_lora_weights: pissa, because DoRA adapters cannot be saved in the PiSSA form")
	}
	faults.Positive("lora_plus_ratio", c.LoraPlusRatio)
	return faults.Err()
}

// validateSelection adds faults in the settings that name modules.
func (c Config) validateSelection(faults *fault.List) {
	if c.TargetModules.empty() && len(c.TargetParameters) == 0 && len(c.ModulesToSave) == 0 && !c.InitialState {
		faults.Add("target_modules", "is empty, as are target_parameters and modules_to_save, and initial_state is off: nothing would be trained")
	}
	if c.TargetModules.Pattern != "" && len(c.LayersToTransform) > 0 && !c.TargetModules.word() {
		faults.Add("layers_to_transform", "cannot be combined with a regular expression in target_modules, which can select the layers itself")
	}
	for _, l := range c.LayersToTransform {
		if l < 0 {
			faults.Add("layers_to_transform", "layer numbers start at 0, got %d", l)
		}
	}
	if c.ExcludeModules.word() {
		faults.Add("exclude_modules", "%s is valid only in target_modules", c.ExcludeModules.Pattern)
	}
	for _, t := range []struct {
		key string
		Targets
	}{{"target_modules", c.TargetModules}, {"exclude_modules", c.ExcludeModules}} {
		if _, err := t.compile(); err != nil {
			faults.Add(t.key, "%v", err)
		}
		if t.Pattern != "" && len(t.Names) > 0 {
			faults.Add(t.key, "is %s and a list of names; choose one", t.Pattern)
		}
		for _, name := range t.Names {
			if name == "" {
				faults.Add(t.key, "contains an empty name")
			}
		}
	}
	if _, err := c.RankPattern.compile(); err != nil {
		faults.Add("rank_pattern", "%v", err)
	}
	if _, err := c.AlphaPattern.compile(); err != nil {
		faults.Add("alpha_pattern", "%v", err)
	}
}

// Setting is a setting and its value, formatted as text.
type Setting struct {
	Key   string // relative to lora, such as r or rank_pattern
	Value string
}

// Settings lists the settings that affect an adapter's values, in the order of the configuration. Lists of names and
// layers are sorted, so that equal settings have equal texts. lora_plus_ratio is not included: it belongs to the
// optimizer.
func (c Config) Settings() []Setting {
	list := []Setting{}
	for _, s := range []struct {
		key   string
		value any
	}{
		{"r", c.R},
		{"lora_alpha", c.LoraAlpha},
		{"lora_dropout", c.LoraDropout},
		{"target_modules", c.TargetModules.sorted()},
		{"target_parameters", sorted(c.TargetParameters)},
		{"exclude_modules", c.ExcludeModules.sorted()},
		{"layers_to_transform", slices.Sorted(slices.Values(c.LayersToTransform))},
		{"rank_pattern", c.RankPattern},
		{"alpha_pattern", c.AlphaPattern},
		{"bias", c.Bias},
		{"use_rslora", c.UseRSLora},
		{"use_dora", c.UseDora},
		{"init_lora_weights", c.InitLoraWeights},
		{"modules_to_save", sorted(c.ModulesToSave)},
		{"initial_state", c.InitialState},
	} {
		list = append(list, Setting{s.key, fmt.Sprint(s.value)})
	}
	return list
}

// For returns the settings with auto replaced by names of modules in m: its usual slots, except those that other
// settings exclude. If no slots remain, auto is kept, and [Inject] reports it.
func (c Config) For(m nn.Module) Config {
	excluded, err := c.ExcludeModules.compile()
	if c.TargetModules.Pattern != auto || err != nil {
		return c
	}
	var slots []nn.Slot
	var paths []string
	for _, s := range m.Slots() {
		if _, no, err := excluded(s.Path); no || err != nil || !onLayer(s.Path, c.LayersToTransform) {
			continue
		}
		if slots = append(slots, s); s.Usual {
			paths = append(paths, s.Path)
		}
	}
	if len(paths) > 0 {
		c.TargetModules = named(paths, slots)
	}
	return c
}

// Differences returns the settings in which c differs from saved, the settings of an adapter whose training is to be
// resumed. It ignores lora_dropout and lora_plus_ratio, which may change between runs, and the initialization, which
// no longer matters.
func (c Config) Differences(saved Config) fault.List {
	var faults fault.List
	old := saved.Settings()
	for i, given := range c.Settings() {
		if given.Key == "lora_dropout" || given.Key == "init_lora_weights" || given == old[i] {
			continue
		}
		faults.Add(given.Key, "is %s, but the adapter was created with %s", given.Value, old[i].Value)
	}
	return faults
}

// strengths determines the rank and the scale of each module.
type strengths struct {
	Config
	ranks  patternTable[int]
	alphas patternTable[float64]
}

func (c Config) strengths() (s strengths, err error) {
	s.Config = c
	if s.ranks, err = c.RankPattern.compile(); err != nil {
		return s, fault.Fault{Path: "rank_pattern", Problem: err.Error()}
	}
	if s.alphas, err = c.AlphaPattern.compile(); err != nil {
		return s, fault.Fault{Path: "alpha_pattern", Problem: err.Error()}
	}
	return s, nil
}

// of returns r and the scale of B·A for a module, or for row groups of it that share an adapter.
func (s strengths) of(path string, groups ...string) (rank int, scale float64, err error) {
	if rank, err = lookup(s.ranks, s.R, path, groups); err != nil {
		return 0, 0, fault.Fault{Path: "rank_pattern", Problem: err.Error()}
	}
	alpha, err := lookup(s.alphas, s.LoraAlpha, path, groups)
	if err != nil {
		return 0, 0, fault.Fault{Path: "alpha_pattern", Problem: err.Error()}
	}
	return rank, s.factor(alpha, rank), nil
}

// lookup returns the value for a module. A value for a row group takes precedence over that for its module.
func lookup[V int | float64](t patternTable[V], otherwise V, path string, groups []string) (V, error) {
	all, err := t.lookup(path, otherwise)
	if err != nil || len(groups) == 0 {
		return all, err
	}
	values := make([]V, len(groups))
	for i, g := range groups {
		if values[i], err = t.lookup(path+"."+g, all); err != nil {
			return all, err
		}
		if values[i] != values[0] {
			return all, fmt.Errorf("%s: %s and %s are adjacent and share an adapter, so they cannot have different values, %v and %v", path, groups[0], g, values[0], values[i])
		}
	}
	return values[0], nil
}

func (c Config) factor(alpha float64, rank int) float64 {
	if c.UseRSLora {
		return alpha / math.Sqrt(float64(rank))
	}
	return alpha / float64(rank)
}
