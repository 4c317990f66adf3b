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
	// Usual marks the places where an adapter goes if the configuration leaves the choice to the model.
	Usual bool
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

// LowRank returns the change of the slot's weight, nil if there is none.
func (s Slot) LowRank() *LowRank {
	if s.Linear != nil {
		return s.Linear.LowRank
	}
	return s.Embedding.LowRank
}

// SetLowRank puts lr into the slot; nil empties it. Graphs recorded before keep what they had.
func (s Slot) SetLowRank(lr *LowRank) {
	if s.Linear != nil {
		s.Linear.LowRank = lr
		return
	}
	s.Embedding.LowRank = lr
}
