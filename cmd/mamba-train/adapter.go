package main

import (
	"fmt"
	"path/filepath"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn"
)

// loadAdapter reads an adapter directory into m and enables it.
func loadAdapter(m *mamba.Model, dir string) (*lora.Adapted, error) {
	adapted, err := lora.Load(dir, m)
	if err != nil {
		return nil, fmt.Errorf("adapter %s: %w", dir, err)
	}
	return adapted, nil
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

// readBack fills parameters with what a checkpoint holds under their names.
func readBack(path string, params []*ag.Param) error {
	t, err := nn.OpenTensors(path)
	if err != nil {
		return err
	}
	defer t.Close()
	for _, p := range params {
		x, ok := t.Tensor(p.Name)
		if !ok {
			return fmt.Errorf("%s: %s is missing", filepath.Base(path), p.Name)
		}
		if err := x.Read(p); err != nil {
			return err
		}
	}
	return nil
}
