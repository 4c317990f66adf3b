// Package nn has the layers of a model.
//
// A layer owns [ag.Param] objects and computes in two ways. Forward records the layer in a graph, for training and for
// evaluation with gradients; Apply runs it at once on the kernels, for generation one token at a time. Both read the
// same parameters, so what has been trained is what generates.
//
// A model is a [Module]: it lists its parameters in checkpoint order and its slots, the places where a
// [LowRank] may be. Package lora sees a model through these two lists only.
package nn
