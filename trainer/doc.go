// Package trainer runs the optimiser over a data set and keeps what it has reached safe.
//
// A [Task] says what is trained: parameters, a [Program] that computes losses and gradients, a [Source] of micro-batches
// and functions that write and read weights. [Config] says how, in the words of transformers' TrainingArguments. [New]
// joins them, and [Trainer.Run] is the loop.
//
// # What a step is
//
// The micro-batches of a step are found from its number alone. Their labels are counted, each is run forward and backward
// with the loss divided by that count, so that k micro-batches give the gradient of one batch; the gradient is clipped
// and the optimizer moves the weights at the rate of the schedule (package optim).
//
// # Going on after a stop
//
// Everything random is a function of the seed and the micro-batch's number, so the state of a run is small: weights,
// the optimiser's memory and trainer_state.json. A checkpoint directory holds all of it and a manifest with checksums; it
// is built under another name and renamed when everything in it has reached the disk. A run that goes on from one makes
// the same steps, bit for bit, as a run that never stopped.
package trainer
