package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/fault"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/optim"
)

// Program computes losses and gradients; *autograd.Program is one.
type Program interface {
	// Step runs forward and backward and adds to the gradients.
	Step(context.Context, ag.Step) (ag.Loss, error)
	// Eval runs forward only.
	Eval(context.Context, ag.Batch) (ag.Loss, error)
}

// Task defines what a run trains.
type Task struct {
	// Params is all parameters of the model. Only the trainable ones are updated.
	Params []*ag.Param
	// Program computes up to Rows rows at once; with segments in Config, it computes batches of any length in segments
	// of Rows rows. If it has a method Bytes() int64, as *autograd.Program does, that is the memory of its activations.
	// Carrying state from one micro-batch to the next requires the Carried and SetCarried methods of *autograd.Program.
	Program Program
	Rows    int
	// Train returns the training micro-batches. Eval is the datasets to evaluate on.
	Train BatchSource
	Eval  []EvalSet
	// Storage is where checkpoints and the result are written.
	Storage Storage
	// Sample continues or answers a prompt during evaluations. It may be nil.
	Sample func(ctx context.Context, prompt SamplePrompt) (string, error)
	// Schedule overrides the schedule named in Config if not nil. Identity should distinguish it from other schedules.
	Schedule optim.Schedule
	// Seed determines dropout and noise, together with the micro-batch number.
	Seed uint64
	// LoRAPlusRatio is the learning rate of B divided by that of A; 0 means 1.
	LoRAPlusRatio float64
	// Identity maps configuration keys to the settings outside Config that must not change within a run.
	Identity map[string]string
	// Kernels names what computes the steps: a device, or "" for the CPU kernels. It is recorded with the run, and
	// resuming with different kernels is reported because the bits differ.
	Kernels string
	// Force allows resuming even if settings have changed.
	Force bool
	// Observer and Now may be nil. Only rank 0's observer receives events.
	Observer Observer
	Now      func() time.Time
	// Ranks divides the run among processes. The zero value means one process.
	Ranks Ranks
}

// Storage is the output directory of a run and the functions that save and load its weights.
type Storage struct {
	// Output is where checkpoints and the result are written; if nil, nothing is written. Only rank 0 has an Output.
	Output *checkpoint.Output
	// Save writes the weights and everything else that makes the directory self-contained. Load reads back what Save
	// wrote.
	Save func(dir string) error
	Load func(dir string) error
	// Publish adds the remaining files of a result, such as a model card and plots, to a directory that already
	// contains the final weights. It may be nil.
	Publish func(dir string, st *checkpoint.State) error
}

// Ranks defines how a run is divided among processes.
type Ranks struct {
	// Comm connects the ranks; nil means [SingleProcess].
	Comm Communicator
	// Shards is the number of micro-batches that a step computes independently, as if each had its own rank; a step
	// runs gradient_accumulation_steps micro-batches per shard. The number of shards per rank is a power of two; 0
	// means one per rank. The result depends on the number of shards but not on the number of ranks.
	Shards int
	// ShardOptimizer divides the optimizer state of large tensors among the ranks.
	ShardOptimizer bool
	// BucketBytes is how much of the gradient one call reduces; 0 means [DefaultBucketBytes].
	BucketBytes int
	// Overlap reduces gradients during the backward pass. It helps only if a core is free for the communicator: if the
	// two share cores, the kernels lose more time than the reductions take.
	Overlap bool
	// Facts must be the same on all ranks, in addition to Identity; for example, the program's version.
	Facts map[string]string
}

// Trainer is one run.
type Trainer struct {
	config    Config
	task      Task
	comm      Communicator
	optimizer *optim.Optimizer
	reducer   *reducer
	schedule  optim.Schedule
	plan      *stepPlan
	state     *checkpoint.State
	progress  *checkpoint.Progress // part of state
	carried   carriedStates

	updatesOnHost string // see UpdatesOnHost

	bestNow     bool   // the last evaluation was the best
	stopReason  string // why the run ends before its last step, if it does
	interrupted bool   // a rank was asked to stop
	lost        error  // set when the other ranks cannot be reached
	saves       bool   // rank 0 has an output directory
}

// Result is the outcome of a run.
type Result struct {
	State           *checkpoint.State
	Steps           int
	TrainLoss       float64            // nats per counted token, over the whole run
	WeightsStep     int                // the last step, or that of the best evaluation
	Eval            map[string]float64 // metrics of those weights, if finite; empty without an evaluation
	Tokens          int                // counted labels
	TokensPerSecond float64            // counted labels divided by the time of the training steps
	StopReason      string             // why the run ended before its last step, if it did
	AlreadyFinished bool               // there was nothing left to do
}

// New prepares a run. It reads no batches and writes nothing; [Trainer.Run] resumes from the contents of the output
// directory.
func New(c Config, task Task) (*Trainer, error) {
	task = task.withDefaults()
	t := &Trainer{config: c, task: task, comm: task.Ranks.Comm}
	if err := t.validate(); err != nil {
		return nil, fmt.Errorf("trainer: %w", err)
	}
	if err := t.checkRanks(); err != nil {
		return nil, err
	}
	if err := t.newOptimizer(); err != nil {
		return nil, err
	}
	var err error
	if t.plan, err = newStepPlan(task.Train, c, c.GradientAccumulationSteps*task.Ranks.Shards); err != nil {
		return nil, err
	}
	if t.schedule = task.Schedule; t.schedule == nil {
		if t.schedule, err = optim.NewSchedule(c.Config, t.plan.steps); err != nil {
			return nil, err
		}
	}
	return t, t.newState()
}

func (t Task) withDefaults() Task {
	if t.LoRAPlusRatio == 0 {
		t.LoRAPlusRatio = 1
	}
	if t.Now == nil {
		t.Now = time.Now
	}
	t.Ranks = t.Ranks.withDefaults()
	if t.Ranks.Comm.Rank() > 0 {
		t.Observer = nil
	}
	t.Observer = Observers(t.Observer)
	return t
}

func (r Ranks) withDefaults() Ranks {
	if r.Comm == nil {
		r.Comm = SingleProcess{}
	}
	if r.Shards == 0 {
		r.Shards = r.Comm.Size()
	}
	if r.BucketBytes == 0 {
		r.BucketBytes = DefaultBucketBytes
	}
	return r
}

// newOptimizer creates the optimizer for this rank's part of the parameters and the reducer for their gradients.
func (t *Trainer) newOptimizer() error {
	var trainable []*ag.Param
	for _, p := range t.task.Params {
		if p.Trainable() {
			trainable = append(trainable, p)
		}
	}
	if len(trainable) == 0 {
		return errors.New("trainer: no parameter is trainable")
	}
	r, c := t.task.Ranks, t.config.Config
	buckets := newLayout(trainable, r.BucketBytes)
	if t.sharded() {
		buckets.share()
	}
	groups := optim.Groups(t.task.Params, c, t.task.LoRAPlusRatio)
	resident, err := t.residentOf(trainable)
	if err != nil {
		return err
	}
	if resident != nil {
		t.optimizer, err = optim.NewResident(c, groups, resident)
	} else {
		t.optimizer, err = optim.NewPartial(c, groups, func(p *ag.Param) []optim.Extent {
			return buckets.owned(p, t.comm.Rank(), t.comm.Size())
		})
	}
	if err != nil {
		return err
	}
	t.reducer = newReducer(buckets, t.optimizer.Params(), t.comm, r.Shards/t.comm.Size())
	t.reducer.overlap, t.reducer.resident = r.Overlap, resident
	return nil
}

// validate returns the faults in the settings, including those that depend on the task.
func (t *Trainer) validate() error {
	var names []string
	for _, set := range t.task.Eval {
		names = append(names, set.Name)
	}
	var l fault.List
	l.Include("train", t.config.Validate())
	l.Include("train", t.config.ValidateEvaluation(names))
	l.Require(t.task.Program != nil, "Task.Program", "is required")
	l.Require(t.task.Train != nil, "Task.Train", "is required")
	l.Positive("Task.LoRAPlusRatio", t.task.LoRAPlusRatio)
	for i, set := range t.task.Eval {
		l.Require(set.Source != nil, "Task.Eval", "set %q has no source", set.Name)
		l.Require(slices.Index(names, set.Name) == i, "Task.Eval", "two sets are named %q", set.Name)
	}
	l.Require(!t.config.LoadBestModelAtEnd || t.task.Storage.Output != nil || t.comm.Rank() > 0, "train.load_best_model_at_end", "requires an output directory")
	return l.Err()
}

func (t *Trainer) newState() error {
	epochs, err := t.plan.epochs()
	if err != nil {
		return err
	}
	t.state = &checkpoint.State{
		IsLocalProcessZero: true, IsWorldProcessZero: t.comm.Rank() == 0, LogHistory: []checkpoint.Row{},
		EvalSteps: float64(t.config.EvalSteps), LoggingSteps: float64(t.config.LoggingSteps), SaveSteps: float64(t.config.SaveSteps),
		MaxSteps: t.plan.steps, NumTrainEpochs: epochs, TrainBatchSize: t.config.PerDeviceTrainBatchSize,
	}
	t.progress = t.state.Progress()
	*t.progress = checkpoint.Progress{Rows: t.task.Rows, Ranks: t.comm.Size(), Settings: t.identity(), Kernels: cmp.Or(t.task.Kernels, kernel.ISA())}
	return nil
}

// Run trains to the last step or until early stopping. If ctx is canceled, Run finishes the current step, saves, and
// returns a *StopError.
func (t *Trainer) Run(ctx context.Context) (Result, error) {
	r, err := t.run(ctx)
	return r, t.release(err)
}

func (t *Trainer) run(ctx context.Context) (Result, error) {
	if finished, err := t.begin(ctx); finished || err != nil {
		r := t.result()
		r.AlreadyFinished = finished
		return r, err
	}
	for !t.atEnd() && !t.stopRequested(ctx) {
		step, err := t.step(ctx)
		if err != nil {
			return Result{}, err
		}
		t.log(step)
		if t.evaluationDue(step.batches) {
			if err := t.evaluate(ctx); err != nil {
				return Result{}, err
			}
		}
		if t.checkpointDue() {
			t.checkpoint()
		}
	}
	switch {
	case t.lost != nil:
		return Result{}, t.lost
	case t.interrupted || t.progress.EvalDue:
		return Result{}, t.interrupt()
	}
	return t.finish()
}

// atEnd reports whether no steps remain.
func (t *Trainer) atEnd() bool { return t.state.GlobalStep >= t.plan.steps || t.stopReason != "" }

// stopRequested reports whether any rank was asked to stop, so that all ranks stop after the same step.
func (t *Trainer) stopRequested(ctx context.Context) bool {
	flag := []float64{0}
	if ctx.Err() != nil {
		flag[0] = 1
	}
	t.lost = t.comm.AllReduceMax(flag)
	t.interrupted = flag[0] > 0
	return t.interrupted || t.lost != nil
}

// log adds a step to the running sums and appends a row to the history every logging_steps.
func (t *Trainer) log(s stepResult) {
	p := t.progress
	t.state.NumInputTokensSeen += s.input
	t.state.Epoch = s.batches.epochsDone()
	p.RowSeconds += s.time.Seconds()
	p.RunSeconds += s.time.Seconds()
	p.NumTokens += s.tokens
	if !s.skipped {
		p.RowLoss += s.sum
		p.RunLoss += s.sum
		p.RowTokens += s.tokens
		p.RunTokens += s.tokens
	}
	t.task.Observer(StepEvent{
		Step: t.state.GlobalStep, Steps: t.plan.steps, Epoch: t.state.Epoch, Loss: mean(s.sum, s.tokens), GradNorm: s.norm,
		LearningRate: s.rate, Tokens: s.tokens, InputTokens: s.input, Time: s.time,
	})
	if n := t.config.LoggingSteps; n == 0 || t.state.GlobalStep%n != 0 {
		return
	}
	row := t.row("learning_rate", s.rate, "num_tokens", float64(p.NumTokens), "tokens_per_second", perSecond(p.RowTokens, p.RowSeconds))
	if p.RowTokens > 0 {
		row["loss"] = p.RowLoss / float64(p.RowTokens)
	}
	if !s.skipped {
		row["grad_norm"] = s.norm
	}
	p.RowLoss, p.RowTokens, p.RowSeconds = 0, 0, 0
	t.state.LogHistory = append(t.state.LogHistory, row)
	t.task.Observer(LogEvent{row})
}

// row returns a history row with step, epoch, and the given name–value pairs.
func (t *Trainer) row(pairs ...any) checkpoint.Row {
	r := checkpoint.Row{"step": float64(t.state.GlobalStep), "epoch": t.state.Epoch}
	for i := 0; i < len(pairs); i += 2 {
		r[pairs[i].(string)] = pairs[i+1].(float64)
	}
	return r
}

func mean(sum float64, n int) float64 { return sum / float64(max(1, n)) }

// perSecond returns 0 if no time has passed.
func perSecond(n int, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// Overview returns a description of the run.
func (t *Trainer) Overview() Overview {
	o := Overview{
		Decayed: t.optimizer.Decayed(), Steps: t.plan.steps, StepsPerEpoch: t.plan.inEpoch(0), Epochs: t.state.NumTrainEpochs,
		StartStep: t.state.GlobalStep, BatchesPerStep: t.plan.perStep, Ranks: t.comm.Size(), Memory: t.memory(),
	}
	for _, p := range t.task.Params {
		o.Parameters += p.Size()
		if p.Trainable() {
			o.Trainable += p.Size()
		}
	}
	return o
}

func (t *Trainer) memory() Memory {
	m := Memory{Optimizer: t.optimizer.Bytes()}
	for _, p := range t.task.Params {
		m.Weights += p.Bytes()
		if p.Trainable() {
			gradient := 4 * int64(p.Size())
			m.Gradients += gradient
			m.Weights -= gradient
		}
	}
	m.Gradients *= int64(1 + treeHeight(t.reducer.shards)) // partial sums of shards are stored until their neighbors are complete
	if b, ok := t.task.Program.(interface{ Bytes() int64 }); ok {
		m.Activations = b.Bytes()
	}
	return m
}

// result returns a summary of the run.
func (t *Trainer) result() Result {
	p := t.progress
	r := Result{
		State: t.state, Steps: t.state.GlobalStep, WeightsStep: t.state.ResultStep(), TrainLoss: mean(p.RunLoss, p.RunTokens), Tokens: p.NumTokens,
		TokensPerSecond: perSecond(p.RunTokens, p.RunSeconds), StopReason: t.stopReason, Eval: map[string]float64{},
	}
	for k, v := range t.state.Evaluation() {
		if isEvalKey(k) && finite(v) {
			r.Eval[k] = v
		}
	}
	return r
}
