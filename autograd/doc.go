// Package autograd records a model as a Gorgonia graph of coarse, hand-differentiated operations and runs it
// forward and backward over documents laid end to end.
//
// The package is the only one that knows Gorgonia. Three objects make up its surface:
//
//   - A [Param] is one tensor of the model under its checkpoint name. It owns its gradient, to which every backward
//     pass adds, so that micro-batches accumulate by running again.
//   - A [Graph] records operations on [Var] values. It is built once for a capacity of rows; shapes are checked while
//     it is recorded and the first error sticks to it.
//   - A [Program] is the compiled graph. It runs any [Batch] that fits the capacity: forward and backward with Step,
//     forward alone with Eval.
//
// # Rows
//
// A batch has no [batch, length] axes. Its documents are laid end to end on one axis of rows, activations are
// (rows, width), and the two operations that look back in time, [Conv1d] and [SelectiveScan], restart at the first row
// of every document. Padding therefore does not exist, and packing documents changes nothing but speed.
//
// # Writing an operation
//
// An operation is a type with the five methods of [Op]: its name, its shape rule, which inputs its backward pass reads,
// forward and backward. [Apply] records it. Backward adds to the gradients it is handed and skips those that are absent
// because nothing trainable lies below that input. See rmsnorm.go for a small one.
//
// # How it runs on Gorgonia
//
// Each operation becomes one Gorgonia node, its backward pass another one, created by gorgonia.Grad through SymDiff;
// zero-copy "take" nodes hand the several gradients of one backward node to their owners. Gorgonia's tape machine runs
// nodes in the order in which they were created, which makes that order the schedule: plan.go derives the lifetime of
// every buffer from it and lays all of them out in one slab.
package autograd
