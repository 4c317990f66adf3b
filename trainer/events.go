package trainer

import (
	"time"

	"mambatrain/trainer/checkpoint"
)

// Event is something that happened in a run. It is one of the types below.
type Event interface{ event() }

// Observer receives every event, in order, on the goroutine of the run, which waits for it.
type Observer func(Event)

// Observers passes events to each of the list, in order. It may contain nil.
func Observers(list ...Observer) Observer {
	return func(e Event) {
		for _, o := range list {
			if o != nil {
				o(e)
			}
		}
	}
}

// Overview is what is known of a run before its first step.
type Overview struct {
	Parameters, Trainable int // elements
	Decayed               []string
	Steps, StepsPerEpoch  int // StepsPerEpoch of the first epoch
	Epochs                int
	StartStep             int // above 0 in a run that has resumed
	BatchesPerStep        int // micro-batches of all ranks
	Ranks                 int
	Memory                Memory
}

// Memory is what the run has in memory, in bytes.
type Memory struct {
	Weights, Gradients, Optimizer, Activations int64
}

// Total is the sum.
func (m Memory) Total() int64 { return m.Weights + m.Gradients + m.Optimizer + m.Activations }

type (
	// StartEvent comes before the first step of this process, with the rows of those made before.
	StartEvent struct {
		Overview
		History []checkpoint.Row
	}

	// ResumeEvent says from where a run resumes, and which newer checkpoints could not be used.
	ResumeEvent struct {
		Step    int
		Dir     string
		Damaged []error
		Changed []checkpoint.Change // settings that differ and were forced
		Kernels *checkpoint.Change  // nil where the same kernels go on; others round otherwise
	}

	// StepEvent comes after every optimizer step.
	StepEvent struct {
		Step, Steps  int
		Epoch        float64
		Loss         float64 // nats per counted token of this step
		GradNorm     float64 // before clipping
		LearningRate float64
		Tokens       int // counted labels of this step
		InputTokens  int // rows of this step
		Time         time.Duration
	}

	// StepProgressEvent comes within a step that computes documents in segments, after each pass over one.
	StepProgressEvent struct {
		Step, Steps int
		Share       float64 // of the step's work that is done, up to 1
		Time        time.Duration
		Stopping    bool // the run has been asked to stop and will after this step
	}

	// LogEvent is a new row of log_history.
	LogEvent struct{ Row checkpoint.Row }

	// EvalProgressEvent comes after each micro-batch of an evaluation.
	EvalProgressEvent struct {
		Set         string // "" for the only one
		Done, Total int    // micro-batches
	}

	// EvalEvent is a new evaluation row of log_history.
	EvalEvent struct {
		Row  checkpoint.Row
		Best bool // the best so far by metric_for_best_model
	}

	// SampleEvent is a text generated at an evaluation.
	SampleEvent struct {
		Step         int
		Prompt, Text string
		Err          error
	}

	// SaveEvent says that a checkpoint is complete.
	SaveEvent struct {
		Step int
		Dir  string
		Time time.Duration
	}

	// SaveFailureEvent says that a checkpoint could not be written. The run continues; earlier checkpoints are untouched.
	SaveFailureEvent struct {
		Step int
		Err  error
	}

	// MissingBestEvent says that load_best_model_at_end could not be followed: the result has the last weights.
	MissingBestEvent struct {
		Step int
		Err  error
	}

	// SkipEvent says that a step was dropped because it was not finite.
	SkipEvent struct {
		Err   *NonFiniteError
		InRow int // skipped steps without a good one between
	}

	// NoGradientEvent names trainable parameters that the first step gave no gradient.
	NoGradientEvent struct{ Names []string }

	// EarlyStopEvent says why the run ends before its last step.
	EarlyStopEvent struct {
		Step   int
		Reason string
	}

	// FinishEvent comes last in a run that reached its end.
	FinishEvent struct{ Result Result }
)

func (StartEvent) event()        {}
func (ResumeEvent) event()       {}
func (StepEvent) event()         {}
func (LogEvent) event()          {}
func (EvalProgressEvent) event() {}
func (StepProgressEvent) event() {}
func (EvalEvent) event()         {}
func (SampleEvent) event()       {}
func (SaveEvent) event()         {}
func (SaveFailureEvent) event()  {}
func (MissingBestEvent) event()  {}
func (SkipEvent) event()         {}
func (NoGradientEvent) event()   {}
func (EarlyStopEvent) event()    {}
func (FinishEvent) event()       {}
