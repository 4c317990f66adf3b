package nn

import ag "mambatrain/autograd"

// Module is the view of a model that adapters and optimizers need.
type Module interface {
	// Slots returns the layers that can have an adapter, in checkpoint order.
	Slots() []Slot
	// Params returns every parameter of the base model once, in checkpoint order, without adapters.
	Params() []*ag.Param
}

// Slot is a place for an adapter. Exactly one of Linear and Embedding is set.
type Slot struct {
	// Path is the module's path in the checkpoint, without ".weight", such as "backbone.layers.0.mixer.in_proj".
	Path      string
	Linear    *Linear
	Embedding *Embedding
	// Groups lists, in order, the named ranges of a Linear's outputs to which an adapter can be limited.
	Groups []RowGroup
	// Usual marks the default slots, which get an adapter if the configuration does not choose any.
	Usual bool
}

// RowGroup is a named range of a Linear's outputs, [From, To).
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

// LowRank returns the adapter of the slot's layer, or nil if there is none.
func (s Slot) LowRank() *LowRank {
	if s.Linear != nil {
		return s.Linear.LowRank
	}
	return s.Embedding.LowRank
}

// SetLowRank sets the adapter of the slot's layer; nil removes it. Graphs that are already recorded do not change.
func (s Slot) SetLowRank(lr *LowRank) {
	if s.Linear != nil {
		s.Linear.LowRank = lr
		return
	}
	s.Embedding.LowRank = lr
}
