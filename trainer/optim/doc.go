// Package optim updates parameters from their gradients.
//
// [Config] contains the settings, with the names of transformers' TrainingArguments. [Groups] groups parameters by
// weight decay and learning rate, [New] creates an [Optimizer] for them, and [Optimizer.Step] updates them.
// [NewSchedule] returns the learning rate schedule of a run. The update rules are adamw, sgd, lion, and adafactor, each
// in its own file.
package optim
