// Package nn contains the layers of a model.
//
// A layer owns [ag.Param] objects and can be computed in two ways. Forward records the layer in a graph, for training
// and evaluation. Apply runs it directly on the kernels, to generate text token by token. Both use the same parameters,
// so generation always uses the trained values.
//
// A model is a [Module]: it lists its parameters in checkpoint order and its slots, the places where a [LowRank] can be
// inserted. Package lora sees a model only through these two lists.
package nn
