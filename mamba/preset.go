package mamba

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// preset is a published model.
type preset struct {
	name    string
	aliases []string      // what else checkpoints of these sizes are called
	sizes   func(*Config) // changes the family's defaults
}

// config returns the preset's configuration as one of family f.
func (p preset) config(f *family) Config {
	c := f.defaults()
	p.sizes(&c)
	c.derive()
	return c
}

// Presets returns the names of the published models that [Preset] knows, by family and size.
func Presets() []string {
	var names []string
	for _, modelType := range presetFamilies() {
		for _, p := range families[modelType].presets {
			names = append(names, p.name)
		}
	}
	return names
}

// presetFamilies puts Mamba-1, whose sizes have no family in their names, first.
func presetFamilies() []string {
	first := Default().ModelType
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(families)), func(name string) bool { return name == first })
	return append([]string{first}, others...)
}

// Preset returns the configuration of a published model by a name of [Presets]. Those of Mamba-1 are sizes alone, such as
// 130m, and may have "mamba-" in front.
func Preset(name string) (Config, error) {
	plain := strings.TrimPrefix(strings.ToLower(name), "mamba-")
	for _, f := range families {
		for _, p := range f.presets {
			if p.name == plain {
				return p.config(f), nil
			}
		}
	}
	return Config{}, fmt.Errorf("mamba: preset %q: want %s", name, either(Presets()))
}

// PresetOf returns the configuration of the published model whose name is part of the given one, as in
// state-spaces/mamba2-130m. The longest such part decides.
func PresetOf(model string) (c Config, ok bool) {
	longest := 0
	for _, f := range families {
		for _, p := range f.presets {
			for _, name := range append(p.aliases, p.name) {
				whole := regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(name) + `\b`)
				if len(name) > longest && whole.MatchString(model) {
					longest, c, ok = len(name), p.config(f), true
				}
			}
		}
	}
	return c, ok
}
