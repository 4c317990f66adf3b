package weights

import (
	"fmt"
	"strings"

	"github.com/nlpodyssey/safetensors"
)

// DType is the type of a tensor's elements in a file, by its safetensors name.
type DType string

// The types that weights are kept in, and those of index tensors. Others are listed by a file but not read.
const (
	F32  DType = "F32"
	BF16 DType = "BF16"
	F16  DType = "F16"
	I64  DType = "I64"
	I32  DType = "I32"
)

// configNames are torch's names of the types, as config.json and flags spell them.
var configNames = map[string]DType{"float32": F32, "bfloat16": BF16, "float16": F16}

// ParseDType reads a weight type by torch's name: float32, bfloat16 or float16.
func ParseDType(name string) (DType, error) {
	if d, ok := configNames[name]; ok {
		return d, nil
	}
	return "", fmt.Errorf("weights: dtype %q: want float32, bfloat16 or float16", name)
}

// TorchName is the spelling that config.json uses, such as "float32"; the safetensors name where torch's is not known.
func (d DType) TorchName() string {
	for name, t := range configNames {
		if t == d {
			return name
		}
	}
	return string(d)
}

// IsFloating reports whether elements of the type are read as float32. Those of a quantized tensor of a GGUF file are.
func (d DType) IsFloating() bool {
	return d == F32 || d == BF16 || d == F16 || strings.HasPrefix(string(d), "Q") || strings.HasPrefix(string(d), "IQ")
}

// Unquantized returns the type, F32 for a quantized one.
func (d DType) Unquantized() DType {
	if d.IsFloating() && d.Size() == 0 {
		return F32
	}
	return d
}

// Size is the number of bytes of one element; 0 for a type that safetensors does not know.
func (d DType) Size() int {
	t, err := safetensors.ParseDType(string(d))
	if err != nil {
		return 0
	}
	return int(t.Size())
}
