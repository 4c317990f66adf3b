// Package runs finds training runs in folders and reads their output: runs of this program, and runs that have a
// trainer_state.json written by transformers. It only reads, takes no lock that a run would wait for, and keeps a bounded
// part of each history in memory.
package runs
