package recipe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/pyjson"
	"mambatrain/trainer"
)

// FactsFile is the name of the file with a run's [Facts] in its output directory.
const FactsFile = "run.json"

// Facts describes a run for programs that monitor it. The run writes it before its first step.
type Facts struct {
	Version     string    `json:"version,omitempty"`
	Model       string    `json:"model"`
	Steps       int       `json:"steps"`
	Parameters  int       `json:"parameters"`
	Trainable   int       `json:"trainable"`
	MemoryBytes int64     `json:"memory_bytes"` // estimated
	Device      string    `json:"device"`
	Sessions    []Session `json:"sessions"` // processes that have worked on the run
}

// Session is one process that has worked on a run.
type Session struct {
	Started time.Time `json:"started"`
	Step    int       `json:"step"` // step after which it started
}

// facts writes run.json and config.yaml when the run starts. The result later replaces config.yaml.
type facts struct {
	run *Run
	err error
}

// Observe implements runLog.
func (f *facts) Observe(e trainer.Event) {
	if start, ok := e.(trainer.StartEvent); ok {
		f.err = f.run.writeFacts(start.Overview)
	}
}

// Close returns the write error, if any.
func (f *facts) Close() error { return f.err }

func (r *Run) writeFacts(o trainer.Overview) error {
	path := filepath.Join(r.Config.OutputDir, FactsFile)
	all := Facts{
		Version: r.options.Version, Model: r.Config.Model, Steps: o.Steps, Parameters: o.Parameters, Trainable: o.Trainable,
		MemoryBytes: Memory{o.Memory}.Total(), Device: cmp.Or(r.Device, fmt.Sprintf("CPU, %s, %d threads", kernel.ISA(), kernel.Threads())),
	}
	var earlier Facts
	if o.StartStep > 0 && pyjson.ReadFile(path, inputfile.MaxConfig, &earlier) == nil {
		all.Sessions = earlier.Sessions
	}
	all.Sessions = append(all.Sessions, Session{time.Now().UTC().Truncate(time.Second), o.StartStep})
	b, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = atomicfile.WriteFile(path, append(b, '\n'))
	}
	if err != nil {
		return err
	}
	text, err := r.Config.YAML()
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(r.Config.OutputDir, "config.yaml"), text)
}
