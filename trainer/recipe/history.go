package recipe

import (
	"path/filepath"
	"strconv"
	"strings"

	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/plot"
	"mambatrain/trainer/tensorboard"
)

// History returns what can be drawn of a run: its state, the checkpoints in its output directory, and the resumes that
// the event files in logs record. logs may be "": [checkpoint.LogsDir] in the output directory.
func History(dir, logs string, st *checkpoint.State) plot.History {
	if logs == "" {
		logs = filepath.Join(dir, checkpoint.LogsDir)
	}
	h := plot.History{Name: filepath.Base(dir), Rows: st.LogHistory, BestStep: bestStep(st)}
	h.Checkpoints, _ = checkpoint.Steps(dir) // without them there are no marks
	h.Resumes, _ = tensorboard.Resumes(logs)
	return h
}

// bestStep is known from the checkpoint's name where an older transformers wrote the state.
func bestStep(st *checkpoint.State) int {
	if st.BestGlobalStep != nil {
		return *st.BestGlobalStep
	}
	if st.BestModelCheckpoint == nil {
		return 0
	}
	_, digits, _ := strings.Cut(filepath.Base(*st.BestModelCheckpoint), "-")
	step, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return step
}
