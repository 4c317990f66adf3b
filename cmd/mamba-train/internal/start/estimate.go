package start

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"mambatrain/studio"
	"mambatrain/trainer/recipe"
)

// checked is the response to a form: the composed file, its faults, and the resources that the run would need.
type checked struct {
	YAML     string    `json:"yaml"`
	Faults   []problem `json:"faults"`
	Needs    *needs    `json:"needs"`    // nil if unknown
	Unknown  string    `json:"unknown"`  // why Needs is unknown
	Existing bool      `json:"existing"` // output_dir is not empty
}

// needs are the sizes of a run.
type needs struct {
	Parameters  int   `json:"parameters"`
	Trainable   int   `json:"trainable"`
	Rows        int   `json:"rows"` // processed at once
	Memory      int64 `json:"memory_bytes"`
	Weights     int64 `json:"weights_bytes"`
	Gradients   int64 `json:"gradients_bytes"`
	Optimizer   int64 `json:"optimizer_bytes"`
	Activations int64 `json:"activations_bytes"`
	Program     int64 `json:"program_bytes"`
	Limit       int64 `json:"limit_bytes"`
}

func (h *Handlers) check(w http.ResponseWriter, r *http.Request) {
	var f form
	if !studio.Read(w, r, &f) {
		return
	}
	text, c, faults := f.read("the form")
	out := checked{YAML: string(text), Faults: problems(faults)}
	if c != nil {
		n, err := needsOf(c)
		if err != nil {
			out.Unknown = err.Error()
		} else {
			out.Needs = &n
		}
		out.Existing = recipe.CheckOutput(c.OutputDir, recipe.Options{}) != nil
	}
	studio.Answer(w, out, nil)
}

// needsOf returns the numbers that info -c prints.
func needsOf(c *recipe.Config) (needs, error) {
	sizes, err := c.Sizes()
	if err != nil {
		return needs{}, err
	}
	e, err := c.Estimate(sizes)
	if err != nil {
		return needs{}, err
	}
	m := e.Memory
	return needs{
		Parameters: e.Parameters, Trainable: e.Trainable, Rows: e.Rows, Memory: m.Total(), Weights: m.Weights, Gradients: m.Gradients,
		Optimizer: m.Optimizer, Activations: m.Activations, Program: m.Program(), Limit: c.Limit(),
	}, nil
}

// time responds with the output of train --dry-run --json. If the page drops the request to send another one, the process
// is killed.
func (h *Handlers) time(w http.ResponseWriter, r *http.Request) {
	var f form
	if !studio.Read(w, r, &f) {
		return
	}
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	case <-r.Context().Done():
		return
	}
	out, err := h.dryRun(r.Context(), f)
	studio.Answer(w, out, err)
}

// offline is the environment variable that disables downloads.
const offline = "HF_HUB_OFFLINE"

func (h *Handlers) dryRun(ctx context.Context, f form) (out json.RawMessage, err error) {
	text, c, faults := f.read("the form")
	if c == nil {
		return nil, faults
	}
	dir, err := os.MkdirTemp("", "mamba-train-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "form.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, h.program, "train", "-c", file, "--dry-run", "--json", "--quiet")
	cmd.Env = append(os.Environ(), offline+"=1") // editing the form must not start a download
	var said strings.Builder
	cmd.Stderr = &said
	out, err = cmd.Output()
	if errors.As(err, new(*exec.ExitError)) {
		err = errors.New(strings.TrimPrefix(strings.TrimSpace(said.String()), "mamba-train: "))
		if strings.Contains(err.Error(), offline) {
			err = errors.New("it can be estimated once the model and the data are on this machine; starting the run downloads them")
		}
	}
	if err == nil && !json.Valid(out) {
		err = fmt.Errorf("train --dry-run printed no JSON: %q", out)
	}
	return out, err
}
