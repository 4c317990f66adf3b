// Package trainer is the training loop: it updates parameters from micro-batches, evaluates, and writes checkpoints from
// which a stopped run resumes.
//
// A [Task] says what is trained: parameters, a [Program] that computes losses and gradients, a [BatchSource] of
// micro-batches, and [Storage] for weights. [Config] says how, in the words of transformers' TrainingArguments. [New] joins
// them, and [Trainer.Run] is the loop. An [Observer] receives an [Event] for each thing that happens. Package recipe makes
// all of this from one configuration; the example here does it by hand.
//
// # What a step is
//
// The micro-batches of a step follow from its number. Their labels are counted, and each is run forward and backward with
// the loss divided by that count, so that k micro-batches give the gradient of one batch. The gradient is clipped, and the
// optimizer moves the weights at the rate of the schedule; both are in package optim.
//
// # Resuming
//
// Everything random is a function of the seed and the micro-batch's number, so the state of a run is small: the weights,
// the optimizer's memory and trainer_state.json. A checkpoint is a directory with all of it, which package checkpoint
// writes and verifies. A run that resumes from one makes the same steps, bit for bit, as a run that never stopped.
//
// # Several ranks
//
// [Ranks] divides a step among processes, which a [Communicator] joins; package mpi has one. A step is cut into shards whose
// gradients are added along a fixed tree of pairs, so that its result does not depend on the number of ranks.
package trainer
