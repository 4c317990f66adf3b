package weights

import (
	"fmt"
	"strings"

	"github.com/nlpodyssey/safetensors"
)

// DType is the type of a tensor's elements in a file, by its safetensors name.
type DType string

// The types of weights and of index tensors. Tensors of other types are listed but cannot be read.
const (
	F32  DType = "F32"
	BF16 DType = "BF16"
	F16  DType = "F16"
	I64  DType = "I64"
	I32  DType = "I32"
)

// configNames are torch's names for the types, as used in config.json and flags.
var configNames = map[string]DType{"float32": F32, "bfloat16": BF16, "float16": F16}

// ParseDType parses torch's name of a weight type: float32, bfloat16, or float16.
func ParseDType(name string) (DType, error) {
	if d, ok := configNames[name]; ok {
		return d, nil
	}
	return "", fmt.Errorf("weights: dtype %q: want float32, bfloat16, or float16", name)
}

// TorchName returns the name used in config.json, such as "float32", or the safetensors name if torch's is unknown.
func (d DType) TorchName() string {
	for name, t := range configNames {
		if t == d {
			return name
		}
	}
	return string(d)
}

// IsFloating reports whether elements of the type are read as float32. This includes the quantized types of GGUF files.
func (d DType) IsFloating() bool {
	return d == F32 || d == BF16 || d == F16 || strings.HasPrefix(string(d), "Q") || strings.HasPrefix(string(d), "IQ")
}

// Unquantized returns d, or F32 if d is quantized.
func (d DType) Unquantized() DType {
	if d.IsFloating() && d.Size() == 0 {
		return F32
	}
	return d
}

// Size returns the number of bytes per element, or 0 for a type unknown to safetensors.
func (d DType) Size() int {
	t, err := safetensors.ParseDType(string(d))
	if err != nil {
		return 0
	}
	return int(t.Size())
}
