// Package autograd records a model as a Gorgonia graph of coarse, hand-differentiated operations and runs it forward
// and backward over concatenated documents.
//
// No other package imports gorgonia.org/gorgonia. There are three main types:
//
//   - A [Param] is one tensor of the model under its checkpoint name. It owns its gradient. Every backward pass adds to
//     it, so micro-batches accumulate simply by running again.
//   - A [Graph] records operations on [Var] values. It is built once for a maximum number of rows. Shapes are checked
//     while it is recorded, and the first error sticks to it.
//   - A [Program] is the compiled graph. It runs any [Batch] that fits: forward and backward with Step, forward only
//     with Eval.
//
// # Rows
//
// A batch has no [batch, length] axes. Its documents are concatenated along a single axis of rows, activations are
// (rows, width), and the operations that look back in time, such as [Conv1d] and [SelectiveScan], restart at the first
// row of every document. There is no padding, and packing documents changes nothing but speed.
//
// # Writing an operation
//
// An operation is a type with the four methods of [Op]: its name, its shape rule, forward, and backward. It is generic
// over the precision: training runs it in float32, and [mambatrain/autograd/gradtest.Check] runs it in float64 to
// compare its gradients with central differences. [Apply] records it. Forward must fill its entire output, whose
// initial contents are unspecified. Backward adds to the gradients it receives and skips absent ones, which belong to
// inputs that do not depend on anything trainable. Optional methods declare further needs: [Saver], [Stateful],
// [Scratcher], [Overwriter], [Recurrent], [Worker]. A loop over rows uses all threads through kernel.For. The package
// example shows a complete operation with its gradient check.
//
// A layer is a struct of [Param] objects with a method that records it: g.Param turns a Param into a [Var]. Package nn
// has the layers of a Mamba model and an example of a new one.
//
// # How it runs on Gorgonia
//
// Each operation becomes one Gorgonia node. Its backward pass is another node, which gorgonia.Grad creates through
// SymDiff; zero-copy "take" nodes pass its gradients on to their owners. Gorgonia's tape machine runs nodes in the
// order in which they were created, so that order is the schedule: plan.go derives the lifetime of every buffer from it
// and places all buffers in one slab.
package autograd
