// Package runs finds the training runs below folders and reads what they have written: those of this program, and those
// with the trainer_state.json of transformers. It only reads, takes no lock that a run would wait for, and keeps a
// bounded part of each history in memory.
package runs
