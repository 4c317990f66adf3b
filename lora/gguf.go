package lora

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"

	"mambatrain/internal/atomicfile"
)

// WriteGGUF writes the adapter as a GGUF file for llama.cpp's --lora. What llama.cpp cannot express is refused by name:
// DoRA, parameters that are replaced whole, and, with a tied head, adapters on the table or the head, since llama.cpp
// has one tensor for both and would take the table's adapter for the head's. It returns the number of tensors.
func (d *Directory) WriteGGUF(path string, tie Tie) (int, error) {
	if faults := d.ggufFaults(tie); len(faults) > 0 {
		return 0, fmt.Errorf("lora: gguf: llama.cpp cannot run this adapter; merge it and export the model:\n  %s", strings.Join(faults, "\n  "))
	}
	g := gguf{}
	g.text("general.architecture", "mamba")
	g.text("general.type", "adapter")
	g.text("adapter.type", "lora")
	alpha := d.Config.LoraAlpha
	if alpha == 0 { // to llama.cpp 0 says that B·A is not scaled
		alpha = 1
	}
	g.number("adapter.lora.alpha", float32(alpha))
	for i := range d.modules {
		g.add(&d.modules[i], alpha)
	}
	return len(g.tensors), atomicfile.Write(path, g.write)
}

// ggufFaults lists what llama.cpp has no place for.
func (d *Directory) ggufFaults(tie Tie) []string {
	var faults []string
	for _, w := range d.whole {
		if !w.copied {
			faults = append(faults, w.name+": is replaced whole")
		}
	}
	if d.pissa {
		faults = append(faults, "init_lora_weights: pissa: the adapter belongs to a changed base")
	}
	for _, m := range d.modules {
		onTable, onHead := m.table, endsIn(m.path, headPath)
		switch {
		case m.parameter != "":
			faults = append(faults, m.parameter+": is adapted as a parameter")
		case ggufName(m.path) == "":
			faults = append(faults, m.path+": has no counterpart in llama.cpp's Mamba")
		case m.magnitude.Name != "":
			faults = append(faults, m.path+": is DoRA")
		case tie.Head != "" && (onTable || onHead):
			faults = append(faults, m.path+": the head is tied to the embedding table")
		}
	}
	return faults
}

var ggufLayer = regexp.MustCompile(`(?:^|\.)layers\.(\d+)\.mixer\.(in|x|dt|out)_proj$`)

// ggufName is llama.cpp's name of a module's weight, "" if it has none.
func ggufName(path string) string {
	if endsIn(path, "embeddings") {
		return "token_embd.weight"
	}
	if endsIn(path, headPath) {
		return "output.weight"
	}
	if m := ggufLayer.FindStringSubmatch(path); m != nil {
		return "blk." + m[1] + ".ssm_" + m[2] + ".weight"
	}
	return ""
}

// gguf is a GGUF file in the making: version 3, little-endian, with keys of two types and float32 tensors.
type gguf struct {
	keys    []byte
	nkeys   uint64
	tensors []ggufTensor
}

type ggufTensor struct {
	name       string
	rows, cols int
	values     func() ([]float32, error)
}

// Types of values and the alignment of tensors, as the format numbers them.
const (
	ggufFloat32   = 6
	ggufString    = 8
	ggufAlignment = 32
)

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func (g *gguf) text(key, value string) {
	g.keys = appendText(binary.LittleEndian.AppendUint32(appendText(g.keys, key), ggufString), value)
	g.nkeys++
}

func (g *gguf) number(key string, value float32) {
	g.keys = binary.LittleEndian.AppendUint32(appendText(g.keys, key), ggufFloat32)
	g.keys = binary.LittleEndian.AppendUint32(g.keys, math.Float32bits(value))
	g.nkeys++
}

// add appends A and B of one module. llama.cpp multiplies B·A by alpha/r with one alpha for all, so B takes what a
// module's own scale differs by. Beside the table it wants Aᵀ, whose rows it looks up.
func (g *gguf) add(m *module, alpha float64) {
	name, r := ggufName(m.path), m.rank
	a := ggufTensor{name + ".lora_a", r, m.a.Shape[1], m.a.Float32s}
	if m.table {
		a.rows, a.cols = a.cols, a.rows
		a.values = func() ([]float32, error) {
			v, err := m.a.Float32s()
			return transposed(v, r), err
		}
	}
	b := ggufTensor{name + ".lora_b", m.b.Shape[0], r, func() ([]float32, error) {
		v, err := m.b.Float32s()
		if f := float32(m.scale * float64(r) / alpha); f != 1 {
			for i := range v {
				v[i] *= f
			}
		}
		return v, err
	}}
	g.tensors = append(g.tensors, a, b)
}

// transposed returns the transpose of v, which has the given number of rows.
func transposed(v []float32, rows int) []float32 {
	cols := len(v) / rows
	t := make([]float32, len(v))
	for i := range rows {
		for j := range cols {
			t[j*rows+i] = v[i*cols+j]
		}
	}
	return t
}

// write writes the header, the keys, where each tensor lies, and the tensors, one in memory at a time.
func (g *gguf) write(w io.Writer) error {
	head := binary.LittleEndian.AppendUint32([]byte("GGUF"), 3)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(g.tensors)))
	head = binary.LittleEndian.AppendUint64(head, g.nkeys)
	head = append(head, g.keys...)
	offset := 0
	for _, t := range g.tensors {
		head = binary.LittleEndian.AppendUint32(appendText(head, t.name), 2)
		head = binary.LittleEndian.AppendUint64(head, uint64(t.cols)) // the fastest dimension comes first
		head = binary.LittleEndian.AppendUint64(head, uint64(t.rows))
		head = binary.LittleEndian.AppendUint32(head, 0) // float32
		head = binary.LittleEndian.AppendUint64(head, uint64(offset))
		offset += padded(4 * t.rows * t.cols)
	}
	if _, err := w.Write(append(head, make([]byte, padded(len(head))-len(head))...)); err != nil {
		return err
	}
	for _, t := range g.tensors {
		v, err := t.values()
		if err != nil {
			return err
		}
		b := make([]byte, 0, padded(4*len(v)))
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		if _, err := w.Write(b[:cap(b)]); err != nil {
			return err
		}
	}
	return nil
}

func padded(n int) int { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }
