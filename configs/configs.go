// Package configs has what mamba-train prints for a user without this repository.
package configs

import _ "embed"

var (
	// Starter is a configuration to fill in.
	//go:embed starter.yaml
	Starter []byte
	// Reference is every key of a configuration with its default.
	//go:embed reference.yaml
	Reference []byte
)
