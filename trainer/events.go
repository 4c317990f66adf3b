package trainer

import (
	"time"

	"mambatrain/trainer/checkpoint"
)

// Event is something that happened in a run: one of the types below.
type Event interface{ event() }

// Observer receives every event, in order, on the run's goroutine, which waits for it.
type Observer func(Event)

// Observers returns an Observer that passes each event to all of list, in order. Elements may be nil.
func Observers(list ...Observer) Observer {
	return func(e Event) {
		for _, o := range list {
			if o != nil {
				o(e)
			}
		}
	}
}

// Overview describes a run before its first step.
type Overview struct {
	Parameters, Trainable int // number of elements
	Decayed               []string
	Steps, StepsPerEpoch  int // StepsPerEpoch is for the first epoch
	Epochs                int
	StartStep             int // positive in a resumed run
	BatchesPerStep        int // micro-batches on all ranks
	Ranks                 int
	Memory                Memory
}

// Memory is the memory use of the run, in bytes.
type Memory struct {
	Weights, Gradients, Optimizer, Activations int64
}

// Total returns the sum.
func (m Memory) Total() int64 { return m.Weights + m.Gradients + m.Optimizer + m.Activations }

type (
	// StartEvent is sent before the first step of this process, with the history of earlier steps.
	StartEvent struct {
		Overview
		History []checkpoint.Row
	}

	// ResumeEvent reports the checkpoint from which a run resumes and the newer checkpoints that could not be used.
	ResumeEvent struct {
		Step    int
		Dir     string
		Damaged []error
		Changed []checkpoint.Change // changed settings, accepted because of Force
		Kernels *checkpoint.Change  // nil if the kernels are the same; others round differently
	}

	// StepEvent is sent after every optimizer step.
	StepEvent struct {
		Step, Steps  int
		Epoch        float64
		Loss         float64 // nats per counted token of this step
		GradNorm     float64 // before clipping
		LearningRate float64
		Tokens       int // counted labels in this step
		InputTokens  int // rows in this step
		Time         time.Duration
	}

	// StepProgressEvent is sent during a step that computes documents in segments, after each pass over a segment.
	StepProgressEvent struct {
		Step, Steps int
		Share       float64 // fraction of the step's work that is done, up to 1
		Time        time.Duration
		Stopping    bool // the run was asked to stop and will stop after this step
	}

	// LogEvent reports a new row in log_history.
	LogEvent struct{ Row checkpoint.Row }

	// EvalProgressEvent is sent after each micro-batch of an evaluation.
	EvalProgressEvent struct {
		Set         string // "" for a single set
		Done, Total int    // micro-batches
	}

	// EvalEvent reports a new evaluation row in log_history.
	EvalEvent struct {
		Row  checkpoint.Row
		Best bool // the best so far by metric_for_best_model
	}

	// SampleEvent reports a text generated during an evaluation.
	SampleEvent struct {
		Step         int
		Prompt, Text string
		Err          error
	}

	// SaveEvent reports that a checkpoint is complete.
	SaveEvent struct {
		Step int
		Dir  string
		Time time.Duration
	}

	// SaveFailureEvent reports that a checkpoint could not be written. The run continues; earlier checkpoints are
	// untouched.
	SaveFailureEvent struct {
		Step int
		Err  error
	}

	// PruneFailureEvent reports that checkpoints beyond save_total_limit could not be removed.
	PruneFailureEvent struct {
		Step int
		Err  error
	}

	// MissingBestEvent reports that load_best_model_at_end failed: the result has the last weights.
	MissingBestEvent struct {
		Step int
		Err  error
	}

	// SkipEvent reports that a step was skipped because it was not finite.
	SkipEvent struct {
		Err   *NonFiniteError
		InRow int // consecutive skipped steps
	}

	// NoGradientEvent lists trainable parameters that received no gradient in the first step.
	NoGradientEvent struct{ Names []string }

	// EarlyStopEvent reports why the run ends before its last step.
	EarlyStopEvent struct {
		Step   int
		Reason string
	}

	// FinishEvent is the last event of a run that reached its end.
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
func (PruneFailureEvent) event() {}
func (MissingBestEvent) event()  {}
func (SkipEvent) event()         {}
func (NoGradientEvent) event()   {}
func (EarlyStopEvent) event()    {}
func (FinishEvent) event()       {}
