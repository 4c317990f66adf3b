package lora

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/format"
)

// PEFT creates an adapter from adapter_config.json and then loads the weights into it. It ignores unexpected tensors,
// and modules without tensors keep their initial values. In both cases the result is not the adapter that was
// trained, so both are errors here. PEFT ignores fan_in_fan_out for linear layers and embeddings, the only kinds in
// Mamba models, and so does this package.

// contents describes the tensors that the weights must contain according to adapter_config.json.
type contents struct {
	peftFile
	included, excluded matcher
	lists              []string // layers_pattern: names of the layer lists to which layers_to_transform applies; empty: any
	whole              []string // parameters in the record of mamba-train, which PEFT's settings cannot name
}

// contents returns the contents that the settings imply. whole are the parameters in the record of mamba-train.
func (p peftFile) contents(whole []string) (c contents, err error) {
	c = contents{peftFile: p, whole: whole}
	if c.included, err = p.TargetModules.compile(); err != nil {
		return c, fmt.Errorf("target_modules: %w", err)
	}
	if c.excluded, err = p.ExcludeModules.compile(); err != nil {
		return c, fmt.Errorf("exclude_modules: %w", err)
	}
	if len(p.Layers) > 0 && p.TargetModules.Pattern != "" {
		return c, errors.New("layers_to_transform: is valid only if target_modules is a list of names")
	}
	c.lists, err = p.layerLists()
	return c, err
}

// layerLists parses layers_pattern, a name or a list of names.
func (p peftFile) layerLists() ([]string, error) {
	if len(p.LayersPattern) == 0 || absent(p.LayersPattern) {
		return nil, nil
	}
	var one string
	var list []string
	if json.Unmarshal(p.LayersPattern, &one) == nil {
		list = []string{one}
	} else if json.Unmarshal(p.LayersPattern, &list) != nil {
		return nil, fmt.Errorf("layers_pattern: want a name or a list of names, got %s", fault.Shorten(string(p.LayersPattern), 60))
	}
	for _, name := range list {
		if !moduleName.MatchString(name) {
			return nil, fmt.Errorf("layers_pattern: want a name such as layers, got %q", fault.Shorten(name, 60))
		}
	}
	return list, nil
}

// leavesOut returns the setting that excludes the module at path, or "" if none does.
func (c *contents) leavesOut(path string, table bool) (setting string, err error) {
	if _, yes, err := c.excluded(path); yes || err != nil {
		return "exclude_modules " + c.ExcludeModules.String(), err
	}
	_, named, err := c.included(path)
	if c.TargetModules.allLinear() {
		named = !table && !endsIn(path, headPath)
	}
	if !named || err != nil {
		return "target_modules " + c.TargetModules.String(), err
	}
	if slices.Contains(c.TargetModules.Names, path) || onLayer(path, c.Layers, c.lists...) {
		return "", nil
	}
	setting = fmt.Sprintf("layers_to_transform %v", []int(c.Layers))
	if len(c.lists) > 0 {
		setting += " of layers_pattern " + strings.Join(c.lists, ", ")
	}
	return setting, nil
}

// surplus returns an error if there are tensors that do not belong to the settings. The error names one of the
// settings.
func (d *Directory) surplus() error {
	var setting string
	var names []string
	blame := func(cause, name string) {
		if setting == "" {
			setting = cause
		}
		if cause != "" && cause == setting {
			names = append(names, name)
		}
	}
	for _, m := range d.modules {
		if d.contents.anyTarget || m.parameter != "" || d.contents.onTargetParameter(m.path) {
			continue
		}
		cause, err := d.contents.leavesOut(m.path, m.table)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", ConfigFile, cause, err)
		}
		blame(cause, m.path)
	}
	for _, w := range d.params {
		blame(d.omittedBy(w), w.name)
	}
	if setting == "" {
		return nil
	}
	return fmt.Errorf("does not match %s: it has tensors for %s, which %s excludes", ConfigFile, format.Few(names), setting)
}

// targetParameter returns the name of the parameter that A and B of m adapt because PEFT's target_parameters include it,
// or "" if they adapt the module at m.path.
func (c *contents) targetParameter(m *module) (string, error) {
	if m.table {
		return "", nil
	}
	for _, name := range c.TargetParameters {
		i := strings.LastIndexByte(name, '.')
		if i >= 0 && endsIn(m.path, name[:i]) {
			return m.path + name[i:], nil
		}
		if i < 0 { // a parameter of any module that is not itself a target
			if setting, err := c.leavesOut(m.path, false); err != nil {
				return "", fmt.Errorf("%s: %w", setting, err)
			} else if setting != "" {
				return m.path + "." + name, nil
			}
		}
	}
	return "", nil
}

// trains reports whether target_parameters of mamba-train include the parameter, which is then trained in full.
func (c *contents) trains(param string) bool {
	return slices.ContainsFunc(c.whole, func(name string) bool { return isParameter(param, name) })
}

// onTargetParameter reports whether PEFT's target_parameters include the weight of the module at path.
func (c *contents) onTargetParameter(path string) bool {
	return slices.ContainsFunc(c.TargetParameters, func(name string) bool { return endsIn(path+".weight", name) })
}

// omittedBy returns the setting that should include the tensor but does not, or "" if one does.
func (d *Directory) omittedBy(w fileParam) string {
	c := &d.contents
	path, bias := strings.TrimSuffix(w.name, ".bias"), isBias(w.name)
	switch {
	case w.copied,
		slices.ContainsFunc(c.ModulesToSave, func(name string) bool { return isInModule(w.name, name) }),
		c.trains(w.name),
		bias && c.Bias == BiasAll:
		return ""
	case !bias:
		return fmt.Sprintf("modules_to_save %v", c.ModulesToSave)
	case c.Bias == BiasLoraOnly && slices.ContainsFunc(d.modules, func(m module) bool { return m.path == path }):
		return ""
	}
	return "bias: " + c.Bias
}

// deficit returns an error if the settings require tensors that are missing from the weights, for a model with the
// given parameters and the given matrices, as module paths. Names that match nothing in the model are ignored, as in
// PEFT.
//
// With bias: lora_only, PEFT does not write the biases to its files; with bias: all, it does.
func (d *Directory) deficit(matrices, params []string) error {
	c := &d.contents
	var paths, whole []string
	for _, m := range d.modules {
		paths = append(paths, m.path)
	}
	for _, w := range d.params {
		whole = append(whole, w.name)
	}
	inFile, wholeInFile := indexed(paths), indexed(whole)
	asked := func(names []string, setting string) error {
		if len(names) == 0 {
			return nil
		}
		return fmt.Errorf("lora: %s: does not match %s: it has no tensors for %s, which %s includes",
			filepath.Join(d.Path, WeightsFile), ConfigFile, format.Few(names), setting)
	}
	saves := func(param string) bool {
		return slices.ContainsFunc(c.ModulesToSave, func(name string) bool { return isInModule(param, name) })
	}
	var adapted, saved, biases []string
	for _, path := range matrices {
		setting, err := c.leavesOut(path, endsIn(path, "embeddings"))
		if err != nil {
			return fmt.Errorf("lora: %s: %s: %w", ConfigFile, setting, err)
		}
		// PEFT gives no adapter to what modules_to_save trains in full, even if it is a target.
		if setting == "" && inFile.find(path) < 0 && !saves(path+".weight") {
			adapted = append(adapted, path)
		}
	}
	for _, p := range params {
		switch {
		case wholeInFile.find(p) >= 0:
		case saves(p):
			saved = append(saved, p)
		case c.Bias == BiasAll && strings.HasSuffix(p, ".bias"):
			biases = append(biases, p)
		}
	}
	return cmp.Or(asked(adapted, "target_modules "+c.TargetModules.String()),
		asked(saved, fmt.Sprintf("modules_to_save %v", c.ModulesToSave)), asked(biases, "bias: all"))
}
