package main

import (
	"fmt"
	"slices"
	"strings"

	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn"
)

// loadAdapter reads an adapter directory into m and enables it.
func loadAdapter(m *mamba.Model, dir string) (*lora.Adapter, error) {
	adapted, err := lora.Load(dir, m)
	if err != nil {
		return nil, fmt.Errorf("adapter %s: %w", dir, err)
	}
	return adapted, nil
}

// targetError is the error of an adapter that cannot be put into a model's slots, with the modules that were probably
// meant by targets that name none of them; nil stays nil.
func targetError(err error, names []string, slots []nn.Slot) error {
	if err == nil {
		return nil
	}
	var there []string
	for _, s := range slots {
		last := s.Path[strings.LastIndexByte(s.Path, '.')+1:]
		there = append(there, s.Path, last)
		for _, g := range s.Groups {
			there = append(there, last+"."+g.Name)
		}
	}
	hint := ""
	for _, name := range names {
		if !slices.Contains(there, name) {
			hint += didYouMean(name, there)
		}
	}
	return misusef("%w%s", err, hint)
}

// readsNoWeights says whether an adapter leaves the numbers of its base alone, so that the base may be kept in the
// kernels' layout only: it takes nothing out of a weight, measures none and replaces none.
func readsNoWeights(c lora.Config) bool {
	return c.InitLoraWeights != lora.InitPissa && !c.UseDora && len(c.ModulesToSave) == 0 && len(c.TargetParameters) == 0
}

// canPack says whether the base of an adapter directory, "" for none, may be loaded in the kernels' layout.
func canPack(adapter string) (bool, error) {
	if adapter == "" {
		return true, nil
	}
	d, err := lora.Open(adapter)
	if err != nil {
		return false, fmt.Errorf("adapter %s: %w", adapter, err)
	}
	defer d.Close()
	return readsNoWeights(d.Config), nil
}

// baseOf returns the model that an adapter says it belongs to.
func baseOf(dir string) (string, error) {
	d, err := lora.Open(dir)
	if err != nil {
		return "", fmt.Errorf("adapter %s: %w", dir, err)
	}
	defer d.Close()
	if d.BaseModel == "" {
		return "", misusef("adapter %s does not say what its base is: name it with --model", dir)
	}
	return d.BaseModel, nil
}
