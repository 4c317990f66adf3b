package lora

import (
	"fmt"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/gguf"
	"mambatrain/internal/quant"
)

// WriteGGUF writes the adapter as a GGUF file for llama.cpp's --lora, for a model with the given llama.cpp
// architecture. What llama.cpp cannot represent is an error: DoRA, parameters that are replaced in full, and, if the
// head is tied, adapters on the table or the head, because llama.cpp has one tensor for both and would apply the
// table's adapter to the head. WriteGGUF returns the number of tensors.
func (d *Directory) WriteGGUF(path, architecture string, tie Tie) (int, error) {
	if faults := d.ggufFaults(tie); len(faults) > 0 {
		return 0, fmt.Errorf("lora: gguf: llama.cpp cannot run this adapter; merge it and export the model:\n  %s", faults.Report())
	}
	var w gguf.Writer
	w.Set("general.architecture", architecture)
	w.Set("general.type", "adapter")
	w.Set("adapter.type", "lora")
	alpha := d.Config.LoraAlpha
	if alpha == 0 { // llama.cpp does not scale B·A if alpha is 0
		alpha = 1
	}
	w.Set("adapter.lora.alpha", float32(alpha))
	for i := range d.modules {
		d.modules[i].addGGUF(&w, alpha)
	}
	return w.Len(), atomicfile.Write(path, w.Write)
}

// ggufFaults lists what llama.cpp does not support.
func (d *Directory) ggufFaults(tie Tie) fault.List {
	var faults fault.List
	for _, w := range d.params {
		if !w.copied {
			faults.Add(w.name, "is replaced entirely")
		}
	}
	if d.hasInitialState() {
		faults.Add(initialStateFile, "a GGUF adapter cannot contain the state that documents start from")
	}
	if d.pissa {
		faults.Add("init_lora_weights: pissa", "the adapter requires a changed base")
	}
	for _, m := range d.modules {
		onTable, onHead := m.table, endsIn(m.path, headPath)
		switch {
		case m.parameter != "":
			faults.Add(m.parameter, "is adapted as a parameter, not as a module")
		case gguf.TensorName(m.path+".weight") == "":
			faults.Add(m.path, "has no counterpart in llama.cpp's Mamba")
		case m.magnitude.Name != "":
			faults.Add(m.path, "is DoRA")
		case tie.Head != "" && (onTable || onHead):
			faults.Add(m.path, "the head is tied to the embedding table")
		}
	}
	return faults
}

// addGGUF adds the module's A and B. llama.cpp scales B·A by alpha/r with one alpha for all modules, so B is
// multiplied by the ratio of the module's own scale to that. For the table, llama.cpp expects Aᵀ and looks up its
// rows.
func (m *module) addGGUF(w *gguf.Writer, alpha float64) {
	name, r := gguf.TensorName(m.path+".weight"), m.rank
	add := func(suffix string, rows, cols int, values func() ([]float32, error)) {
		w.Add(gguf.Tensor{Name: name + suffix, Dims: []int{cols, rows}, Type: quant.F32}, func() ([]byte, error) {
			v, err := values()
			return quant.F32.Encode(v), err
		})
	}
	if in := m.a.Shape[1]; m.table {
		add(".lora_a", in, r, func() ([]float32, error) {
			v, err := m.a.Float32s()
			return transposed(v, r), err
		})
	} else {
		add(".lora_a", r, in, m.a.Float32s)
	}
	add(".lora_b", m.b.Shape[0], r, func() ([]float32, error) {
		v, err := m.b.Float32s()
		if f := float32(m.scale * float64(r) / alpha); f != 1 {
			for i := range v {
				v[i] *= f
			}
		}
		return v, err
	})
}

// transposed returns the transpose of v, a matrix with the given number of rows.
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
