package mamba

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mambatrain/internal/fault"
)

// family is what is specific to models of one model_type. It is registered by a file such as mamba1.go, the only
// place that knows about it.
type family struct {
	modelType string
	name      string                // for display
	sizes     func(Config) string   // describes the mixer's sizes, for display
	layer     string                // ssm_cfg.layer of original checkpoints; "" if there are none
	defaults  func() Config         // transformers' defaults; sizes that are 0 are derived
	presets   []preset              // published models, smallest first
	fields    func(*Config) []field // keys of config.json that only some families have
	aliases   map[string]string     // old names of keys
	derive    func(*Config)         // sets the sizes that follow from others
	faults    func(Config) fault.List
	mixer     func(b *builder, path string) ownMixer
	// original writes the layer arguments of an original checkpoint to c; nil if there are no such checkpoints.
	original func(c *Config, a *arguments)
	gguf     func(Config) (ggufArchitecture, fault.List) // nil if llama.cpp does not support it
	fromGGUF *ggufSource                                 // nil if it cannot be read from GGUF files
}

// ownMixer is a mixer that New can initialize.
type ownMixer interface {
	Mixer
	initialize(in *initializer)
}

var families = map[string]*family{}

func register(f *family) { families[f.modelType] = f }

// familyOf returns the family of a model_type, or an error that lists the known ones.
func familyOf(modelType string) (*family, error) {
	if f := families[modelType]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("model_type: %q is not supported; want %s", modelType, either(slices.Sorted(maps.Keys(families))))
}

// familyOfLayer returns the family with the given layer name in original checkpoints.
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
	return nil, fmt.Errorf("%q is not supported; want %s", layer, either(layers))
}

// either joins alternatives: a or b, or a, b, or c.
func either(names []string) string {
	if len(names) < 3 {
		return strings.Join(names, " or ")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + ", or " + names[last]
}

// family returns the family of a valid configuration.
func (c *Config) family() *family { return families[c.ModelType] }

// Family returns the name of the model's family: Mamba, FalconMamba, Mamba-2.
func (c Config) Family() string { return c.family().name }

// MixerSizes describes the sizes of a mixer.
func (c Config) MixerSizes() string { return c.family().sizes(c) }
