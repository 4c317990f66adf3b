package start

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"mambatrain/studio"
	"mambatrain/studio/jobs"
	"mambatrain/studio/runs"
)

// jobs lists all jobs, or the job in one directory.
func (h *Handlers) jobs(w http.ResponseWriter, r *http.Request) {
	list := []jobs.Job{}
	if q := r.URL.Query(); !q.Has("dir") {
		list = h.runner.List()
	} else if dir := q.Get("dir"); h.runner.Knows(dir) {
		if j, err := h.runner.Job(dir); err == nil {
			list = append(list, j)
		}
	}
	studio.Answer(w, map[string]any{"jobs": list}, nil)
}

// runDir reads a run's directory from a request. It must belong to a job or to a run in the folders.
func (h *Handlers) runDir(w http.ResponseWriter, r *http.Request) (dir string, ok bool) {
	var what struct {
		Dir string `json:"dir"`
	}
	if !studio.Read(w, r, &what) {
		return "", false
	}
	if !h.isRun(what.Dir) {
		studio.Answer(w, nil, fmt.Errorf("%q: %w", what.Dir, runs.ErrUnknown))
		return "", false
	}
	return what.Dir, true
}

// isRun reports whether dir belongs to a job or a run. It only compares paths: dir must not be opened before this check.
func (h *Handlers) isRun(dir string) bool {
	if h.runner.Knows(dir) {
		return true
	}
	for _, r := range h.library.List() {
		if filepath.Clean(r.Path) == dir {
			return true
		}
	}
	return false
}

func (h *Handlers) stop(w http.ResponseWriter, r *http.Request) {
	if dir, ok := h.runDir(w, r); ok {
		studio.Answer(w, struct{}{}, h.runner.Stop(dir))
	}
}

// resume restarts a run from its newest checkpoint, with the file that it was started from if there is one, and otherwise
// with the settings that the run itself has saved.
func (h *Handlers) resume(w http.ResponseWriter, r *http.Request) {
	dir, ok := h.runDir(w, r)
	if !ok {
		return
	}
	file := filepath.Join(dir, configFile)
	if j, err := h.runner.Job(dir); err == nil {
		if info, err := os.Stat(j.Config); err == nil && info.Mode().IsRegular() {
			file = j.Config
		}
	}
	if _, err := h.inside(file); err != nil {
		studio.Answer(w, nil, err)
		return
	}
	if _, err := os.Stat(file); err != nil {
		studio.Answer(w, nil, fmt.Errorf("%s has no %s to resume from: resume it on the command line, with its own configuration file", dir, configFile))
		return
	}
	err := h.runner.Start(jobs.Start{Dir: dir, Config: file, Args: []string{"--set", "output_dir=" + dir, "--resume"}, Append: true})
	studio.Answer(w, struct{}{}, err)
}
