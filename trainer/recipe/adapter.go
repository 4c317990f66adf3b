package recipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/data/hub"
	"mambatrain/internal/fault"
	"mambatrain/internal/spelling"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn"
)

// targetError returns err, the error of an adapter that cannot be put into a model, with suggestions for targets that
// name no module. If err is nil, it returns nil.
func targetError(err error, targets lora.Targets, m nn.Module) error {
	if err == nil {
		return nil
	}
	var there, params []string
	for _, s := range m.Slots() {
		last := s.Path[strings.LastIndexByte(s.Path, '.')+1:]
		there = append(there, s.Path, last)
		for _, g := range s.Groups {
			there = append(there, last+"."+g.Name)
		}
	}
	for _, p := range m.Params() {
		params = append(params, p.Name)
	}
	var hints []string
	for _, name := range targets.Names {
		if hint := targetHint(name, there, params); hint != "" && !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	return fault.Fault{Problem: err.Error() + strings.Join(hints, "")}
}

// attention lists module names from attention models that users write out of habit.
var attention = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "query_key_value", "c_attn", "Wqkv"}

// targetHint returns a suggestion for a target that names no module, or "" if it does name one or there is no
// suggestion.
func targetHint(name string, there, params []string) string {
	isParameter := func(param string) bool {
		return strings.HasSuffix("."+param, "."+name) || strings.Contains("."+param, "."+name+".")
	}
	switch {
	case slices.Contains(there, name):
		return ""
	case slices.Contains(attention, name):
		return "; such modules exist only in models with attention: use all-linear for all modules of this one"
	case slices.Contains([]string{"all", "linear", "any"}, strings.ToLower(name)):
		return "; use all-linear for all of them except the head"
	case slices.ContainsFunc(params, isParameter) && !slices.ContainsFunc(there, func(path string) bool { return strings.HasSuffix(path, "."+name) }):
		return "; " + name + " cannot get an adapter; use lora.target_parameters to train it in full"
	}
	return spelling.DidYouMean(name, there)
}

// leavesBaseAlone reports whether an adapter neither reads nor changes the weights of its base, so that the base can be
// stored only in the kernels' layout.
func leavesBaseAlone(c lora.Config) bool {
	return c.InitLoraWeights != lora.InitPissa && !c.UseDora && len(c.ModulesToSave) == 0 && len(c.TargetParameters) == 0
}

// Readers reports which programs can load the adapter in dir for a base with the given sizes.
func Readers(dir string, base mamba.Config) ([]lora.Verdict, error) {
	d, err := lora.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	_, llamaCPP := base.GGUFArchitecture()
	return d.Compatibility(TieOf(base), llamaCPP), nil
}

// findBase returns the directory of an adapter's base.
func findBase(ctx context.Context, client *hub.Client, d *lora.Directory) (string, error) {
	name := d.BaseModel
	if name == "" {
		return "", fault.NotFound("adapter %s does not name its base model: name it with --model", d.Path)
	}
	if d.Revision != "" {
		at := hub.New()
		if client != nil {
			*at = *client
		}
		at.Revision = d.Revision
		client = at
	}
	dir, err := modelDirectory(ctx, client, name)
	switch _, there := os.Stat(name); {
	case err == nil:
		return dir, nil
	case !errors.Is(err, fault.ErrNotFound) || there == nil:
		return "", fmt.Errorf("adapter %s: base model: %w", d.Path, err)
	case filepath.IsAbs(name):
		return "", fault.NotFound("adapter %s: its base model %q does not exist: name it with --model", d.Path, name)
	case isRepository(name):
		return "", fmt.Errorf("adapter %s: its base model %q is not a directory here (the path may be relative to where the adapter was trained) and cannot be downloaded from the hub: name it with --model: %w", d.Path, name, err)
	}
	return "", fault.NotFound("adapter %s: its base model %q is a path relative to where the adapter was trained, and does not exist here: name it with --model", d.Path, name)
}
