// Package trainer is the training loop: it updates parameters from micro-batches, evaluates, and writes checkpoints from
// which a stopped run resumes.
//
// A [Task] defines what to train: the parameters, a [Program] that computes losses and gradients, a [BatchSource] of
// micro-batches, and [Storage] for the weights. [Config] defines how, with the names of transformers'
// TrainingArguments. [New] combines them, and [Trainer.Run] is the loop. An [Observer] receives an [Event] for
// everything that happens. Package recipe builds all of this from one configuration; the example in this package does
// it by hand.
//
// # Steps
//
// The step number determines the micro-batches of a step. The trainer counts their labels, then runs each micro-batch
// forward and backward with the loss divided by that count, so k micro-batches give the gradient of one batch. It clips
// the gradient, and the optimizer updates the weights at the scheduled learning rate; package optim implements both the
// optimizers and the schedules.
//
// # Resuming
//
// All randomness is a function of the seed and the micro-batch number, so the state of a run is small: the weights, the
// optimizer state, and trainer_state.json. A checkpoint is a directory that contains all of it; package checkpoint
// writes and verifies it. A resumed run takes the same steps, bit for bit, as an uninterrupted one.
//
// # Multiple ranks
//
// [Ranks] divides a step among processes that are connected by a [Communicator]; package mpi provides one. A step is
// split into shards whose gradients are added pairwise along a fixed tree, so the result does not depend on the number
// of ranks.
package trainer
