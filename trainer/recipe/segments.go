package recipe

import (
	"cmp"
	"fmt"
	"os"

	ag "mambatrain/autograd"
	"mambatrain/internal/atomicfile"
)

// graphOptions returns the options of the run's graph for the given number of rows.
func (r *Run) graphOptions(rows int) ag.Options {
	return ag.Options{Rows: rows, Carry: r.Config.Data.CarryState, Segments: r.Config.Train.SegmentTokens > 0 || r.Model.HasStart()}
}

// SegmentFile stores the states between the segments of a step on disk, for train.segment_store: disk.
type SegmentFile struct{ *atomicfile.File }

// OpenSegmentFile creates the file in dir, or in the directory for temporary files if dir is "". Where the system
// allows it, the file is unlinked while it is open, so that a killed run leaves nothing behind. Elsewhere the next run in
// dir removes it. Close frees its space.
func OpenSegmentFile(dir string) (SegmentFile, error) {
	f, err := atomicfile.Create(cmp.Or(dir, os.TempDir()))
	if err != nil {
		return SegmentFile{}, fmt.Errorf("train.segment_store: %w", err)
	}
	os.Remove(f.Name()) // fails if open files cannot be removed; Close removes it then
	return SegmentFile{f}, nil
}

// Close closes and removes the file.
func (f SegmentFile) Close() error {
	f.Abort()
	return nil
}
