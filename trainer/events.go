package trainer

import (
	"time"

	"mambatrain/trainer/checkpoint"
)

// Event is something that happened in a run. It is one of the types below.
type Event interface{ event() }

// Observer is told of every event, in order, on the goroutine of the run. It must not keep the run waiting.
type Observer func(Event)

// Observers tells each of them, in order; nil ones are left out.
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
	StartStep             int // above 0 in a run that goes on
	BatchesPerStep        int // micro-batches of all ranks
	Ranks                 int
	Memory                Memories
}

// Memories is what the run holds in memory, in bytes.
type Memories struct {
	Weights, Gradients, Optimizer, Activations int64
}

// Total is the sum.
func (m Memories) Total() int64 { return m.Weights + m.Gradients + m.Optimizer + m.Activations }

type (
	// Started comes before the first step of this process, with the rows of those made before.
	Started struct {
		Overview
		History []checkpoint.Row
	}

	// Resumed says from where a run goes on, and which newer checkpoints could not be used.
	Resumed struct {
		Step    int
		Dir     string
		Damaged []error
		Changed []checkpoint.Change // settings that differ and were forced
		Kernels *checkpoint.Change  // nil where the same kernels go on; others round otherwise
	}

	// Stepped comes after every optimiser step.
	Stepped struct {
		Step, Steps  int
		Epoch        float64
		Loss         float64 // nats per counted token of this step
		GradNorm     float64 // before clipping
		LearningRate float64
		Tokens       int // counted labels of this step
		InputTokens  int // rows of this step
		Time         time.Duration
	}

	// Logged is a new row of log_history.
	Logged struct{ Row checkpoint.Row }

	// Evaluating comes after each micro-batch of an evaluation.
	Evaluating struct {
		Set         string // "" for the only one
		Done, Total int    // micro-batches
	}

	// Evaluated is a new evaluation row of log_history.
	Evaluated struct {
		Row  checkpoint.Row
		Best bool // the best so far by metric_for_best_model
	}

	// Sampled is a text generated at an evaluation.
	Sampled struct {
		Step         int
		Prompt, Text string
		Err          error
	}

	// Saved says that a checkpoint is complete.
	Saved struct {
		Step int
		Dir  string
		Time time.Duration
	}

	// SaveFailed says that a checkpoint could not be written. The run goes on; earlier checkpoints are untouched.
	SaveFailed struct {
		Step int
		Err  error
	}

	// BestLost says that load_best_model_at_end could not be followed, and that the result holds the last weights instead.
	BestLost struct {
		Step int
		Err  error
	}

	// Skipped says that a step was dropped because it was not finite.
	Skipped struct {
		Err   *NonFinite
		InRow int // skipped steps without a good one between
	}

	// NoGradient names trainable parameters that the first step gave no gradient.
	NoGradient struct{ Names []string }

	// Stopping says why the run ends before its last step.
	Stopping struct {
		Step   int
		Reason string
	}

	// Finished comes last in a run that reached its end.
	Finished struct{ Result Result }
)

func (Started) event()    {}
func (Resumed) event()    {}
func (Stepped) event()    {}
func (Logged) event()     {}
func (Evaluating) event() {}
func (Evaluated) event()  {}
func (Sampled) event()    {}
func (Saved) event()      {}
func (SaveFailed) event() {}
func (BestLost) event()   {}
func (Skipped) event()    {}
func (NoGradient) event() {}
func (Stopping) event()   {}
func (Finished) event()   {}
