package runs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"reflect"
	"time"

	"mambatrain/internal/filelock"
	"mambatrain/internal/pyjson"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/recipe"
)

// State is the state of a run.
type State string

const (
	Running     State = "running"
	Finished    State = "finished"
	Interrupted State = "interrupted" // stopped after a checkpoint of its last step
	Lost        State = "lost"        // ended without saving its last steps
)

// Summary is what the list shows about a run. Unknown numbers are nil or 0.
type Summary struct {
	ID              string   `json:"id"`
	Path            string   `json:"path"`
	Kind            string   `json:"kind"` // mamba-train or transformers
	State           State    `json:"state"`
	Step            int      `json:"step"`
	Steps           int      `json:"steps"`
	Epoch           *float64 `json:"epoch"`
	Loss            *float64 `json:"loss"`
	EvalLoss        *float64 `json:"eval_loss"`
	BestStep        int      `json:"best_step"`
	BestMetric      *float64 `json:"best_metric"`
	TokensPerSecond *float64 `json:"tokens_per_second"`
	SecondsLeft     *float64 `json:"seconds_left"` // of a running run
	MemoryBytes     int64    `json:"memory_bytes"`
	MemoryMeasured  bool     `json:"memory_measured"` // MemoryBytes is measured, not the estimate made at the start
	Device          string   `json:"device"`
	Model           string   `json:"model"`
	Started         int64    `json:"started"` // seconds since 1970
	Updated         int64    `json:"updated"`
	Checkpoints     []int    `json:"checkpoints"` // newest first
	Problem         string   `json:"problem,omitempty"`

	revision int
}

// Revision changes whenever anything else in the summary changes.
func (s Summary) Revision() int { return s.revision }

// run is a run in a library. Its fields are guarded by the library's lock.
type run struct {
	id          string
	folder      *folder
	path        string // relative to the folder, with slashes
	checkpoints []int  // newest first

	summary Summary
	checked time.Time // when the summary was last checked
	stamps  [3]stamp  // of the files it was read from
	facts   recipe.Facts
	head    stateHead        // of trainer_state.json
	recent  []checkpoint.Row // the last rows of the history
	curves  *follower        // nil if not in memory
}

// stamp identifies a version of a file.
type stamp struct {
	size int64
	mod  time.Time
}

// foreignPause is the time without a new row after which a run that has no lock is considered stopped.
const foreignPause = 10 * time.Minute

// refresh rebuilds the summary if a file has changed.
func (r *run) refresh(now time.Time) {
	before := r.summary
	r.checked = now
	journal, state, facts := r.stamp(checkpoint.JournalFile), r.stamp(r.stateFile()), r.stamp(recipe.FactsFile)
	if stamps := [3]stamp{journal, state, facts}; stamps != r.stamps {
		r.stamps = stamps
		r.read()
	}
	r.updateState(now)
	r.summary.revision = before.revision
	if !reflect.DeepEqual(before, r.summary) {
		r.summary.revision++
	}
}

// stateFile returns the name of the final state, or of the newest checkpoint's state if there is none.
func (r *run) stateFile() string {
	if r.stamp(checkpoint.StateFile) != (stamp{}) || len(r.checkpoints) == 0 {
		return checkpoint.StateFile
	}
	return path.Join(fmt.Sprintf("checkpoint-%d", r.checkpoints[0]), checkpoint.StateFile)
}

func (r *run) stamp(name string) stamp {
	info, err := r.folder.root.Stat(path.Join(r.path, name))
	if err != nil || !info.Mode().IsRegular() {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// open opens a regular file of the run.
func (r *run) open(name string) (*os.File, fs.FileInfo, error) {
	name = path.Join(r.path, name)
	info, err := r.folder.root.Stat(name) // check first, because opening a pipe could block
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("runs: %s is not a regular file", name)
	}
	f, err := r.folder.root.Open(name)
	return f, info, err
}

// text returns at most limit bytes of a file.
func (r *run) text(name string, limit int64) ([]byte, error) {
	f, _, err := r.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// read rebuilds the summary from the files.
func (r *run) read() {
	r.facts, r.head, r.recent = recipe.Facts{}, stateHead{}, nil
	s := Summary{ID: r.id, Path: path.Join(r.folder.path, r.path), Kind: "mamba-train"}
	r.summary = s
	r.readFacts()
	if err := r.readState(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.summary.Problem = err.Error()
	}
	if rows, err := r.lastRows(r.recent); err == nil {
		r.recent = rows
	} else if !errors.Is(err, fs.ErrNotExist) {
		r.summary.Problem = err.Error()
	} else if !r.head.own {
		r.summary.Kind = "transformers"
	}
	r.summarize()
}

// readFacts reads the facts that the run recorded when it started. Runs of other programs have none.
func (r *run) readFacts() {
	const limit = 1 << 20
	b, err := r.text(recipe.FactsFile, limit)
	if err != nil || pyjson.Unmarshal(b, &r.facts) != nil {
		r.facts = recipe.Facts{}
	}
	r.summary.Device, r.summary.Model = r.facts.Device, r.facts.Model
	r.summary.Steps, r.summary.MemoryBytes = r.facts.Steps, r.facts.MemoryBytes
	if len(r.facts.Sessions) > 0 {
		r.summary.Started = r.facts.Sessions[0].Started.Unix()
	}
}

// readState reads trainer_state.json and keeps only the last rows of its history.
func (r *run) readState() error {
	f, _, err := r.open(r.stateFile())
	if err != nil {
		return err
	}
	defer f.Close()
	r.head, r.recent, err = readStateHead(f)
	return err
}

// summarize fills in the summary from the last rows and the state.
func (r *run) summarize() {
	s := &r.summary
	if r.head.MaxSteps > 0 {
		s.Steps = r.head.MaxSteps
	}
	s.Step = r.head.GlobalStep
	if r.head.BestMetric != nil {
		s.BestMetric = finite(float64(*r.head.BestMetric))
	}
	s.BestStep = r.head.BestStep
	for _, row := range r.recent {
		s.Step = max(s.Step, int(row["step"]))
		fill(&s.Epoch, row, "epoch")
		fill(&s.Loss, row, "loss")
		fill(&s.TokensPerSecond, row, "tokens_per_second")
		fill(&s.EvalLoss, row, evalLossOf(row))
	}
	for _, stamp := range r.stamps {
		s.Updated = max(s.Updated, stamp.mod.Unix())
	}
}

func fill(to **float64, row checkpoint.Row, key string) {
	if v, ok := row[key]; ok {
		*to = finite(v)
	}
}

// finite returns nil for values that JSON cannot represent.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// updateState sets the state, which may change even if no file does.
func (r *run) updateState(now time.Time) {
	s := &r.summary
	s.Checkpoints = r.checkpoints
	s.SecondsLeft, s.MemoryMeasured = nil, false
	s.MemoryBytes = r.facts.MemoryBytes
	switch {
	case r.head.finished:
		s.State = Finished
	case r.alive(now):
		s.State = Running
		s.SecondsLeft = secondsLeft(r.recent, s.Steps-s.Step)
		if rss := r.resident(); rss > 0 {
			s.MemoryBytes, s.MemoryMeasured = rss, true
		}
	case s.Step > 0 && len(r.checkpoints) > 0 && r.checkpoints[0] >= s.Step:
		s.State = Interrupted
	default:
		s.State = Lost
	}
}

const lockFile = ".lock"

// alive reports whether a process holds the run's lock. If the lock cannot be checked, the time of the last row decides.
func (r *run) alive(now time.Time) bool {
	if f, _, err := r.open(lockFile); err == nil {
		defer f.Close()
		if held, err := filelock.Held(f); err == nil {
			return held
		}
	}
	return now.Sub(time.Unix(r.summary.Updated, 0)) < foreignPause
}

// secondsLeft estimates the time for the remaining steps from the speed of the last rows. It returns nil if the speed is
// unknown.
func secondsLeft(rows []checkpoint.Row, steps int) *float64 {
	seconds, first, last := 0.0, 0.0, 0.0
	tokens := math.NaN()
	for _, row := range rows {
		if row["tokens_per_second"] <= 0 || row["num_tokens"] <= 0 {
			continue
		}
		if !math.IsNaN(tokens) {
			seconds += (row["num_tokens"] - tokens) / row["tokens_per_second"]
			last = row["step"]
		} else {
			first = row["step"]
		}
		tokens = row["num_tokens"]
	}
	if last <= first || seconds <= 0 || steps < 0 {
		return nil
	}
	left := seconds / (last - first) * float64(steps)
	return &left
}
