// Package nn holds the layers of a model and the files their weights live in.
//
// A layer owns [ag.Param] objects and computes in two ways. Forward records the layer in a graph, for training and for
// evaluation with gradients; Apply runs it at once on the kernels, for generation one token at a time. Both read the
// same parameters, so what has been trained is what generates.
//
// A model is a [Module]: it lists its parameters in checkpoint order and its slots, the places where a low-rank
// [Adapter] may sit. Package lora sees a model through these two lists only.
//
// # Weight files
//
// [OpenTensors] reads the header of a safetensors file, of a directory or of a sharded checkpoint and checks every
// size against the file before anything is allocated; tensors are then read one at a time, straight into the memory
// that keeps them. [SaveTensors] and [SaveShards] write one tensor at a time; a file appears whole or not at all.
package nn

import ag "mambatrain/autograd"

// Module is what adapters and optimisers need to know of a model.
type Module interface {
	// Slots lists the layers that can carry an adapter, in checkpoint order.
	Slots() []Slot
	// Params lists every parameter of the base model once, in checkpoint order, adapters excluded.
	Params() []*ag.Param
}

// Slot is one place where an adapter can go; exactly one of Linear and Embedding is set.
type Slot struct {
	// Path is the module's path in the checkpoint, without ".weight": "backbone.layers.0.mixer.in_proj".
	Path      string
	Linear    *Linear
	Embedding *Embedding
	// Groups names ranges of a Linear's outputs that an adapter can be limited to, in order.
	Groups []RowGroup
}

// RowGroup is a named range of a Linear's outputs, To excluded.
type RowGroup struct {
	Name     string
	From, To int
}

// Weight returns the base weight of the slot's layer.
func (s Slot) Weight() *ag.Param {
	if s.Linear != nil {
		return s.Linear.Weight
	}
	return s.Embedding.Weight
}

// Adapter returns the adapter in the slot, nil where there is none.
func (s Slot) Adapter() *Adapter {
	if s.Linear != nil {
		return s.Linear.Adapter
	}
	return s.Embedding.Adapter
}

// SetAdapter puts a into the slot; nil empties it. Graphs recorded before keep what they had.
func (s Slot) SetAdapter(a *Adapter) {
	if s.Linear != nil {
		s.Linear.Adapter = a
		return
	}
	s.Embedding.Adapter = a
}
