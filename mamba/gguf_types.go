package mamba

import (
	"fmt"
	"slices"
	"strings"

	"mambatrain/internal/quant"
)

// GGUFType is the type of the projections and the table in a GGUF file, by llama.cpp's name. Norms, biases, A, D, and
// the convolution are always float32.
type GGUFType string

// The types that can be written: floating-point numbers, and blocks of integers with scales, at about eight, six,
// five, and four bits per weight. The head, and matrices whose rows are not a multiple of the block size, may get a
// different type; see ggufType.of.
const (
	GGUFF32 GGUFType = "F32"
	GGUFF16 GGUFType = "F16"
	GGUFQ8  GGUFType = "Q8_0"
	ggufQ4  GGUFType = "Q4_K_M"
)

// ggufType is the type of most matrices in a file, and llama.cpp's number for the type of the file.
type ggufType struct {
	quant.Type
	file uint32
}

var ggufTypes = map[GGUFType]ggufType{
	GGUFF32: {quant.F32, 0}, GGUFF16: {quant.F16, 1}, "BF16": {quant.BF16, 32}, GGUFQ8: {quant.Q8_0, 7},
	"Q6_K": {quant.Q6_K, 18}, "Q5_K_M": {quant.Q5_K, 17}, ggufQ4: {quant.Q4_K, 15}, "Q4_0": {quant.Q4_0, 2},
}

// GGUFTypes lists the types that can be written, largest first.
func GGUFTypes() []string {
	return []string{string(GGUFF32), string(GGUFF16), "BF16", string(GGUFQ8), "Q6_K", "Q5_K_M", string(ggufQ4), "Q4_0"}
}

// Validate returns an error if t is not one of the types that can be written.
func (t GGUFType) Validate() error {
	if _, ok := ggufTypes[t]; !ok {
		return fmt.Errorf("mamba: gguf: type %q: want one of %s", t, strings.Join(GGUFTypes(), ", "))
	}
	return nil
}

// narrower is the type for rows that are not a multiple of 256 elements.
var narrower = map[quant.Type]quant.Type{quant.Q4_K: quant.Q5_0, quant.Q5_K: quant.Q5_1, quant.Q6_K: quant.Q8_0}

// ggufType returns the type of a matrix in a file of type t.
func (c Config) ggufType(t GGUFType, name string, shape []int) quant.Type {
	return ggufTypes[t].of(shape[1], name == headName || name == tableName && c.TieWordEmbeddings)
}

// of returns the type of a matrix with rows of the given length, by llama.cpp's rules: the head, or a table tied to
// it, gets at least six bits, and rows that are not a multiple of the block size get a type with blocks of 32, or
// else F16.
func (t ggufType) of(columns int, isHead bool) quant.Type {
	want := t.Type
	if isHead && slices.Contains([]quant.Type{quant.Q5_K, quant.Q4_K, quant.Q4_0}, want) {
		want = quant.Q6_K
	}
	if columns%want.Block() != 0 && narrower[want] != 0 {
		want = narrower[want]
	}
	if columns%want.Block() != 0 {
		return quant.F16
	}
	return want
}
