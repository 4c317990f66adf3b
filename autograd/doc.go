// Package autograd records a model as a Gorgonia graph of coarse, hand-differentiated operations and runs it
// forward and backward over documents laid end to end.
//
// No other package imports gorgonia.org/gorgonia. The main types are three:
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
// An operation is a type with the four methods of [Op]: its name, its shape rule, forward and backward. It is generic over
// the precision: training runs it in float32, [mambatrain/autograd/gradtest.Check] in float64 to compare its gradients
// with central differences. [Apply] records it. Forward fills all of its output, whose memory holds anything before;
// Backward adds to the gradients it is handed and skips those that are absent because nothing trainable lies below that
// input. What an operation wants beyond that it says by a further method: [Saver], [Stateful], [Scratcher],
// [Overwriter], [Recurrent], [Worker]. A loop over rows uses all threads through kernel.For. The example of a new operation is a
// whole one with its check.
//
// A layer is a struct of [Param] objects with a method that records it: g.Param turns a Param into a [Var]. Package nn
// has the layers of a Mamba model and an example of a new one.
//
// # How it runs on Gorgonia
//
// Each operation becomes one Gorgonia node, its backward pass another one, created by gorgonia.Grad through SymDiff;
// zero-copy "take" nodes hand the several gradients of one backward node to their owners. Gorgonia's tape machine runs
// nodes in the order in which they were created, which makes that order the schedule: plan.go derives the lifetime of
// every buffer from it and lays all of them out in one slab.
package autograd
