package checkpoint

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"mambatrain/internal/pyjson"
)

// StateFile is the name of the state file in a run's output directory and in each checkpoint.
const StateFile = "trainer_state.json"

// State is trainer_state.json, with exactly the keys of transformers' TrainerState, which rejects others. State that is
// specific to this trainer is stored under stateful_callbacks.
type State struct {
	BestGlobalStep      *int          `json:"best_global_step"`
	BestMetric          *pyjson.Float `json:"best_metric"`
	BestModelCheckpoint *string       `json:"best_model_checkpoint"`
	Epoch               float64       `json:"epoch"`
	EvalSteps           float64       `json:"eval_steps"` // for all three intervals, transformers may write fractions of the run
	GlobalStep          int           `json:"global_step"`
	IsHyperParamSearch  bool          `json:"is_hyper_param_search"`
	IsLocalProcessZero  bool          `json:"is_local_process_zero"`
	IsWorldProcessZero  bool          `json:"is_world_process_zero"`
	LogHistory          []Row         `json:"log_history"`
	LoggingSteps        float64       `json:"logging_steps"`
	MaxSteps            int           `json:"max_steps"`
	NumInputTokensSeen  int           `json:"num_input_tokens_seen"`
	NumTrainEpochs      int           `json:"num_train_epochs"`
	SaveSteps           float64       `json:"save_steps"`
	Callbacks           struct {
		Own callbackState `json:"mamba_train"`
	} `json:"stateful_callbacks"`
	TotalFlos      float64        `json:"total_flos"`
	TrainBatchSize int            `json:"train_batch_size"`
	TrialName      *string        `json:"trial_name"`
	TrialParams    map[string]any `json:"trial_params"`
}

// callbackState has the format that transformers uses for the state of a callback.
type callbackState struct {
	Args       struct{} `json:"args"`
	Attributes Progress `json:"attributes"`
}

// Progress is what a run needs, besides the weights and the optimizer state, to resume as if it had not stopped.
type Progress struct {
	Finished  bool `json:"finished"`
	Updates   int  `json:"updates"`    // optimizer updates; skipped steps make none
	SkipInRow int  `json:"skipped"`    // consecutive skipped steps
	SkipTotal int  `json:"skip_total"` // skipped steps in the run
	NumTokens int  `json:"num_tokens"` // counted labels since the start
	// Loss since the last row and since the start, in nats.
	RowLoss   float64 `json:"row_loss"`
	RowTokens int     `json:"row_tokens"`
	RunLoss   float64 `json:"run_loss"`
	RunTokens int     `json:"run_tokens"`
	// Seconds of training, excluding evaluation and saving, since the last row and since the start.
	RowSeconds float64 `json:"row_seconds"`
	RunSeconds float64 `json:"run_seconds"`

	EvalsWithoutGain int               `json:"evals_without_gain"`
	EvalDue          bool              `json:"eval_due"` // the evaluation of this step was interrupted
	Rows             int               `json:"max_tokens"`
	Ranks            int               `json:"ranks"`
	Weights          string            `json:"weights"` // fingerprint of the trainable parameters
	Settings         map[string]string `json:"settings"`
	Kernels          string            `json:"kernels"`               // kernels that computed the last steps
	Files            []string          `json:"files,omitempty"`       // the result's files in the output directory
	ResultStep       int               `json:"result_step,omitempty"` // step of the result's weights
}

// ResultStep returns the step of the result's weights: that of the best evaluation if load_best_model_at_end is set,
// else the last.
func (s *State) ResultStep() int { return cmp.Or(s.Progress().ResultStep, s.GlobalStep) }

// Evaluation returns the evaluation row of the result's weights, or else the last evaluation row, or nil.
func (s *State) Evaluation() Row {
	var last Row
	for _, row := range slices.Backward(s.LogHistory) {
		if !row.isEvaluation() {
			continue
		}
		if row["step"] == float64(s.ResultStep()) {
			return row
		}
		if last == nil {
			last = row
		}
	}
	return last
}

func (r Row) isEvaluation() bool {
	for k := range r {
		if strings.HasPrefix(k, EvalPrefix) {
			return true
		}
	}
	return false
}

// Progress returns the state that is specific to this trainer.
func (s *State) Progress() *Progress { return &s.Callbacks.Own.Attributes }

// Row is one entry in log_history.
type Row map[string]float64

// EvalPrefix is the prefix of evaluation metrics in a row.
const EvalPrefix = "eval_"

// MarshalJSON encodes numbers that are not finite as null, because JSON cannot represent them.
func (r Row) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(r)) {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		key, _ := json.Marshal(k)
		v := []byte("null")
		if x := r[k]; !math.IsNaN(x) && !math.IsInf(x, 0) {
			v, _ = json.Marshal(x)
		}
		fmt.Fprintf(&b, "%s%s:%s", sep, key, v)
	}
	if len(r) == 0 {
		return []byte("{}"), nil
	}
	return []byte(b.String() + "}"), nil
}

// UnmarshalJSON reads null as NaN and skips values that are not numbers.
func (r *Row) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*r = Row{}
	for k, v := range raw {
		var x *pyjson.Float
		switch err := json.Unmarshal(v, &x); {
		case err != nil:
		case x == nil:
			(*r)[k] = math.NaN()
		default:
			(*r)[k] = float64(*x)
		}
	}
	return nil
}

// encode returns the state as JSON.
func (s *State) encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", StateFile, err)
	}
	return append(b, '\n'), nil
}

// ParseState reads trainer_state.json, including one that transformers wrote.
func ParseState(b []byte) (*State, error) {
	s := &State{}
	if err := pyjson.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", StateFile, err)
	}
	return s, nil
}

// Clone returns a copy that can be changed independently.
func (s *State) Clone() *State {
	c := *s
	c.LogHistory = slices.Clone(s.LogHistory)
	return &c
}

// Change is a setting that differs between a checkpoint and the run that resumes from it.
type Change struct{ Key, Was, Is string }

func (c Change) String() string { return fmt.Sprintf("%s: was %s, is now %s", c.Key, c.Was, c.Is) }

// Changes returns the keys whose values differ, in alphabetical order.
func Changes(was, is map[string]string) []Change {
	keys := map[string]bool{}
	for k := range was {
		keys[k] = true
	}
	for k := range is {
		keys[k] = true
	}
	var list []Change
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		a, okA := was[k]
		b, okB := is[k]
		if a != b || okA != okB {
			list = append(list, Change{k, orAbsent(a, okA), orAbsent(b, okB)})
		}
	}
	return list
}

func orAbsent(v string, ok bool) string {
	if !ok {
		return "absent"
	}
	return v
}
