// Package checkpoint stores the state of a run in its output directory.
//
// [Open] locks the directory and finds its newest complete checkpoint. [Output.Write] adds a checkpoint, [Output.Prune]
// removes old ones, and [Output.Publish] writes the result. Each write is atomic: the files are written under a
// temporary name, synced, and renamed. A manifest contains the checksums of a checkpoint's files. [State] is
// trainer_state.json, with the history of the run.
package checkpoint
