// Package configs contains the configurations that mamba-train prints for users without this repository.
package configs

import _ "embed"

var (
	// Starter is a configuration template to fill in.
	//go:embed starter.yaml
	Starter []byte
	// Reference lists every configuration key with its default.
	//go:embed reference.yaml
	Reference []byte
)
