package gguf

import (
	"regexp"
	"slices"
	"strings"
)

// Parameter returns the name and the shape of a tensor in a Hugging Face checkpoint. A tensor that no Mamba model has
// keeps its name.
func (f *File) Parameter(t Tensor) (name string, shape []int) {
	shape = slices.Clone(t.Dims)
	slices.Reverse(shape)
	m := blockTensor.FindStringSubmatch(t.Name)
	if m == nil {
		for hf, short := range modelNames {
			switch {
			case short != t.Name:
			case hf == "lm_head.weight":
				return hf, shape
			default:
				return "backbone." + hf, shape
			}
		}
		return t.Name, shape
	}
	hf := f.layerParameter(m[2])
	switch hf {
	case "":
		return t.Name, shape
	case "mixer.conv1d.weight":
		if len(shape) == 2 {
			shape = []int{shape[0], 1, shape[1]}
		}
	case "mixer.A_log", "mixer.D":
		if f.Key("general.architecture") == "mamba2" && len(shape) == 2 && shape[1] == 1 { // one number for each head
			shape = shape[:1]
		}
	case "mixer.norm.weight":
		if len(shape) == 2 { // group by group
			shape = []int{shape[0] * shape[1]}
		}
	}
	return "backbone.layers." + m[1] + "." + hf, shape
}

var blockTensor = regexp.MustCompile(`^blk\.(\d+)\.(.+)$`)

// layerParameter is the inverse of layerNames for the model's architecture. It returns "" if there is none.
func (f *File) layerParameter(short string) string {
	if short == "ssm_dt.bias" && f.Key("general.architecture") == "mamba2" {
		return "mixer.dt_bias"
	}
	for hf, s := range layerNames {
		if s == short && hf != "mixer.dt_bias" {
			return hf
		}
	}
	return ""
}

// IsModel reports whether path names a GGUF file.
func IsModel(path string) bool { return strings.HasSuffix(strings.ToLower(path), ".gguf") }
