package recipe

import (
	"path/filepath"
	"strconv"
	"strings"

	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/plot"
	"mambatrain/trainer/tensorboard"
)

// History returns the plottable data of a run: its state, the checkpoints in its output directory, and the resumes
// recorded in the event files in logs. If logs is "", [checkpoint.LogsDir] in the output directory is used.
func History(dir, logs string, st *checkpoint.State) plot.History {
	if logs == "" {
		logs = filepath.Join(dir, checkpoint.LogsDir)
	}
	h := plot.History{Name: filepath.Base(dir), Rows: st.LogHistory, BestStep: bestStep(st)}
	h.Checkpoints, _ = checkpoint.Steps(dir) // on error, no checkpoints are marked
	h.Resumes, _ = tensorboard.Resumes(logs)
	return h
}

// bestStep returns the best step, which it parses from the checkpoint's name if an older version of transformers wrote
// the state.
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
