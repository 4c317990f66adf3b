// Package optim updates parameters from their gradients.
//
// [Config] has the settings, in the words of transformers' TrainingArguments. [Groups] sorts parameters by weight decay and
// learning rate, [New] makes an [Optimizer] of them, and [Optimizer.Step] moves them. [NewSchedule] gives the learning
// rate over the steps of a run. Rules are adamw, sgd, lion and adafactor, each in its own file.
package optim
