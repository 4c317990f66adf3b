package mamba

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mambatrain/internal/fault"
)

// family is what models of one model_type have of their own. A file such as mamba1.go registers it, and that file is the
// only place that knows it.
type family struct {
	modelType string
	name      string                // for people
	sizes     func(Config) string   // of its mixer, for people
	layer     string                // ssm_cfg.layer of original checkpoints; "" if there are none
	defaults  func() Config         // transformers' defaults; sizes that are 0 are derived
	presets   []preset              // published models, from small to large
	fields    func(*Config) []field // keys of config.json that not every family has
	aliases   map[string]string     // old names of keys
	derive    func(*Config)         // sets sizes that follow from others
	faults    func(Config) fault.List
	mixer     func(b *builder, path string) ownMixer
	// original writes the arguments of an original checkpoint's layer to c; nil if there is no such checkpoint.
	original func(c *Config, a *arguments)
	gguf     func(Config) (ggufArchitecture, fault.List) // nil if llama.cpp does not run it
	fromGGUF *ggufSource                                 // nil if its models are not read from GGUF files
}

// ownMixer is a mixer that New can make.
type ownMixer interface {
	Mixer
	initialize(in *initializer)
}

var families = map[string]*family{}

func register(f *family) { families[f.modelType] = f }

// familyOf returns the family of a model_type, or an error with those there are.
func familyOf(modelType string) (*family, error) {
	if f := families[modelType]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("model_type: %q is another model; want %s", modelType, either(slices.Sorted(maps.Keys(families))))
}

// familyOfLayer returns the family whose original checkpoints name their layer so.
func familyOfLayer(layer string) (*family, error) {
	var layers []string
	for _, f := range families {
		if f.layer == layer {
			return f, nil
		}
		if f.layer != "" {
			layers = append(layers, f.layer)
		}
	}
	slices.Sort(layers)
	return nil, fmt.Errorf("%q is another model; want %s", layer, either(layers))
}

// either lists alternatives: a, b or c.
func either(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// family returns the family of a configuration that is known to be valid.
func (c *Config) family() *family { return families[c.ModelType] }

// Family returns the name of the model's family: Mamba, FalconMamba, Mamba-2.
func (c Config) Family() string { return c.family().name }

// MixerSizes describes the sizes of a mixer.
func (c Config) MixerSizes() string { return c.family().sizes(c) }
