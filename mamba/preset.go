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
	aliases []string      // other names of checkpoints with these sizes
	sizes   func(*Config) // changes the family's defaults
}

// config returns the preset's configuration, for family f.
func (p preset) config(f *family) Config {
	c := f.defaults()
	p.sizes(&c)
	c.derive()
	return c
}

// Presets returns the names accepted by [Preset], by family and size.
func Presets() []string {
	var names []string
	for _, modelType := range presetFamilies() {
		for _, p := range families[modelType].presets {
			names = append(names, p.name)
		}
	}
	return names
}

// presetFamilies lists the families, starting with Mamba-1, whose presets have no family in their names.
func presetFamilies() []string {
	first := Default().ModelType
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(families)), func(name string) bool { return name == first })
	return append([]string{first}, others...)
}

// Preset returns the configuration of a published model, given one of the names in [Presets]. Names of Mamba-1 are
// sizes only, such as 130m, and may have the prefix "mamba-".
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

// PresetOf returns the configuration of the published model whose name is contained in model, such as
// state-spaces/mamba2-130m. The longest match wins.
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
