// Package checkpoint keeps what a run has reached in its output directory.
//
// [Open] locks the directory and finds the newest checkpoint in it that is complete. [Output.Write] adds a checkpoint,
// [Output.Prune] removes old ones, and [Output.Publish] writes the result. Each appears completely or not at all: it is
// built under a temporary name, synced and renamed. A manifest has the checksums of a checkpoint's files. [State] is
// trainer_state.json, with the history of the run.
package checkpoint
