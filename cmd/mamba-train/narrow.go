package main

import (
	"os"

	"mambatrain/mamba"
	"mambatrain/nn"
)

// narrow rounds a model's projections and table to bfloat16, by way of a file as a user's weights come.
func narrow(m *mamba.Model) error {
	dir, err := os.MkdirTemp("", "mamba-train-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := m.Save(dir, mamba.SaveOptions{DType: nn.BF16}); err != nil {
		return err
	}
	narrowed, err := mamba.Load(dir, mamba.LoadOptions{BF16: true})
	if err == nil {
		narrowed.Checkpointing = m.Checkpointing
		*m = *narrowed
	}
	return err
}
