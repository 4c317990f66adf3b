package trainer

import (
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
	// Eval runs forward alone.
	Eval(context.Context, ag.Batch) (ag.Loss, error)
}

// Task is what a run works on.
type Task struct {
	// Params are all parameters of the model. Those that are trainable are updated.
	Params []*ag.Param
	// Program computes up to Rows rows at once. A program for which Bytes is known tells the memory of its activations.
	Program Program
	Rows    int
	// Train gives the micro-batches, Eval the data sets to evaluate on.
	Train Source
	Eval  []EvalSet
	// Save writes the weights and whatever makes the directory complete in itself. Load reads back what Save wrote.
	Save func(dir string) error
	Load func(dir string) error
	// Publish adds to a directory that holds the final weights what else belongs to a result, such as a model card and
	// plots. It may be nil.
	Publish func(dir string, st *checkpoint.State) error
	// Sample continues a prompt at evaluations. It may be nil.
	Sample func(ctx context.Context, prompt string) (string, error)
	// Output is where checkpoints and results go; nil writes nothing.
	Output *checkpoint.Output
	// Schedule replaces the one that Config names; nil = that one. Identity should tell it from others.
	Schedule optim.Schedule
	// Seed decides dropout and noise, together with the micro-batch's number.
	Seed uint64
	// LoRAPlusRatio is the learning rate of B over that of A; 0 stands for 1.
	LoRAPlusRatio float64
	// Identity holds the settings outside Config that must not change within a run, by their key in the configuration.
	Identity map[string]string
	// Force goes on although settings have changed.
	Force bool
	// Observer may be nil, as may Now. Only rank 0's observer is told of events.
	Observer Observer
	Now      func() time.Time

	// Comm joins the ranks of a run on several; nil = a process by itself. Only rank 0 has Output.
	Comm Communicator
	// Shards is how many micro-batches are computed side by side in a step, as if by as many ranks, and the multiple of
	// gradient_accumulation_steps that a step takes. Each rank has 1, 2, 4 … of them; 0 = one each. The result depends on
	// the shards and not on the ranks.
	Shards int
	// ShardOptimizer divides the optimiser's memory for large tensors among the ranks.
	ShardOptimizer bool
	// BucketBytes is how much of the gradient is reduced in one call; 0 = 4 MiB.
	BucketBytes int
	// Overlap makes sums while the backward pass is still under way. It pays where a core is left for the communicator:
	// the kernels lose more than the time of the sums if they have to share theirs.
	Overlap bool
	// Facts must be the same on all ranks, beside what Identity holds: the program's version, say.
	Facts map[string]string
}

// Trainer is one run.
type Trainer struct {
	Config
	task      Task
	optimizer *optim.Optimizer
	reducer   *reducer
	schedule  optim.Schedule
	plan      *plan
	state     *checkpoint.State
	progress  *checkpoint.Progress // part of state
	carried   states
	best      bool   // the last evaluation was the best
	stop      string // why the run ends early

	interrupted bool  // a rank has been asked to stop
	lost        error // the other ranks cannot be reached
	saves       bool  // rank 0 has an output directory
}

// Result is what a run came to.
type Result struct {
	State           *checkpoint.State
	Steps           int
	TrainLoss       float64            // nats per counted token, over the whole run
	Eval            map[string]float64 // the last evaluation's metrics, as far as they are finite; empty without one
	Tokens          int                // counted labels
	TokensPerSecond float64            // counted labels over the time of training steps
	StopReason      string             // why it ended before its last step, if so
	AlreadyFinished bool               // nothing was left to do
}

// Interrupted is the error of a run that was asked to stop. The step under way was finished and a checkpoint written,
// unless Err says why not.
type Interrupted struct {
	Step       int
	Checkpoint string
	Err        error
}

func (i *Interrupted) Error() string {
	if i.Err != nil {
		return fmt.Sprintf("trainer: interrupted after step %d; the checkpoint could not be written: %v", i.Step, i.Err)
	}
	if i.Checkpoint == "" {
		return fmt.Sprintf("trainer: interrupted after step %d", i.Step)
	}
	return fmt.Sprintf("trainer: interrupted after step %d, saved as %s", i.Step, i.Checkpoint)
}

func (i *Interrupted) Unwrap() []error { return []error{context.Canceled, i.Err} }

// New prepares a run, with the state of the newest checkpoint where the output directory was opened to resume. It reads
// no batch and writes nothing.
func New(c Config, t Task) (*Trainer, error) {
	tr := &Trainer{Config: c, task: t.withDefaults()}
	if err := tr.validate(); err != nil {
		return nil, fmt.Errorf("trainer: %w", err)
	}
	var err error
	if err := tr.divide(); err != nil {
		return nil, err
	}
	if len(tr.optimizer.Params()) == 0 {
		return nil, errors.New("trainer: no parameter is trainable")
	}
	if tr.plan, err = newPlan(t.Train, c, c.GradientAccumulationSteps*tr.task.Shards); err != nil {
		return nil, err
	}
	if tr.schedule = t.Schedule; tr.schedule == nil {
		if tr.schedule, err = optim.NewSchedule(c.Config, tr.plan.steps); err != nil {
			return nil, err
		}
	}
	return tr, tr.newState()
}

func (t Task) withDefaults() Task {
	if t.LoRAPlusRatio == 0 {
		t.LoRAPlusRatio = 1
	}
	if t.Comm == nil {
		t.Comm = Alone{}
	}
	if t.Now == nil {
		t.Now = time.Now
	}
	if t.Shards == 0 {
		t.Shards = t.Comm.Size()
	}
	if t.BucketBytes == 0 {
		t.BucketBytes = defaultBucketBytes
	}
	if t.Comm.Rank() > 0 {
		t.Observer = nil
	}
	t.Observer = Observers(t.Observer)
	return t
}

// divide makes the optimiser of this rank's part of the parameters, and what adds up their gradients.
func (t *Trainer) divide() error {
	if err := t.checkRanks(); err != nil {
		return err
	}
	c := t.task.Comm
	var trainable []*ag.Param
	for _, p := range t.task.Params {
		if p.Trainable() {
			trainable = append(trainable, p)
		}
	}
	l := newLayout(trainable, t.task.BucketBytes, t.task.ShardOptimizer && c.Size() > 1)
	groups := optim.Groups(t.task.Params, t.Config.Config, t.task.LoRAPlusRatio)
	var err error
	t.optimizer, err = optim.NewPartial(t.Config.Config, groups, func(p *ag.Param) []optim.Extent { return l.owned(p, c.Rank(), c.Size()) })
	if err != nil {
		return err
	}
	t.reducer = newReducer(l, t.optimizer.Params(), c, t.task.Shards/c.Size())
	t.reducer.overlap = t.task.Overlap
	return nil
}

// validate returns what is wrong with the settings, by themselves and for this task.
func (t *Trainer) validate() error {
	var names []string
	for _, set := range t.task.Eval {
		names = append(names, set.Name)
	}
	var l fault.List
	l.Include("train", t.Validate())
	l.Include("train", t.ValidateEvaluation(names))
	l.Require(!t.LoadBestModelAtEnd || t.task.Output != nil || t.task.Comm.Rank() > 0, "train.load_best_model_at_end", "needs an output directory")
	return l.Err()
}

func (t *Trainer) newState() error {
	epochs, err := t.plan.epochs()
	if err != nil {
		return err
	}
	t.state = &checkpoint.State{
		IsLocalProcessZero: true, IsWorldProcessZero: t.task.Comm.Rank() == 0, LogHistory: []checkpoint.Row{},
		EvalSteps: t.EvalSteps, LoggingSteps: t.LoggingSteps, SaveSteps: t.SaveSteps,
		MaxSteps: t.plan.steps, NumTrainEpochs: epochs, TrainBatchSize: t.PerDeviceTrainBatchSize,
	}
	t.progress = t.state.Progress()
	*t.progress = checkpoint.Progress{Rows: t.task.Rows, Ranks: t.task.Comm.Size(), Settings: t.identity(), Kernels: kernel.ISA()}
	return nil
}

// Run trains to the last step, or until early stopping, or until ctx ends: then it finishes the step, saves and returns
// an *Interrupted.
func (t *Trainer) Run(ctx context.Context) (Result, error) {
	if done, err := t.begin(ctx); done || err != nil {
		return t.result(done), err
	}
	for !t.over() && !t.asked(ctx) {
		step, err := t.step(ctx)
		if err != nil {
			return Result{}, err
		}
		t.log(step)
		if t.evaluationDue(step.place) {
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

// over says that no step is left to make.
func (t *Trainer) over() bool { return t.state.GlobalStep >= t.plan.steps || t.stop != "" }

// asked says whether any rank has been asked to stop, so that all of them do at the same step.
func (t *Trainer) asked(ctx context.Context) bool {
	flag := []float64{0}
	if ctx.Err() != nil {
		flag[0] = 1
	}
	t.lost = t.task.Comm.AllReduceMax(flag)
	t.interrupted = flag[0] > 0
	return t.interrupted || t.lost != nil
}

// log adds a step to the running sums and, every logging_steps, a row to the history.
func (t *Trainer) log(s stepped) {
	p := t.progress
	t.state.NumInputTokensSeen += s.input
	t.state.Epoch = s.place.passed()
	p.RowSeconds += s.time.Seconds()
	p.RunSeconds += s.time.Seconds()
	p.NumTokens += s.tokens
	if !s.skipped {
		p.RowLoss += s.sum
		p.RunLoss += s.sum
		p.RowTokens += s.tokens
		p.RunTokens += s.tokens
	}
	t.task.Observer(Stepped{
		Step: t.state.GlobalStep, Steps: t.plan.steps, Epoch: t.state.Epoch, Loss: mean(s.sum, s.tokens), GradNorm: s.norm,
		LearningRate: s.rate, Tokens: s.tokens, InputTokens: s.input, Time: s.time,
	})
	if t.LoggingSteps == 0 || t.state.GlobalStep%t.LoggingSteps != 0 {
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
	t.task.Observer(Logged{row})
}

// row is a row of the history with step, epoch and the given names and values.
func (t *Trainer) row(pairs ...any) checkpoint.Row {
	r := checkpoint.Row{"step": float64(t.state.GlobalStep), "epoch": t.state.Epoch}
	for i := 0; i < len(pairs); i += 2 {
		r[pairs[i].(string)] = pairs[i+1].(float64)
	}
	return r
}

func mean(sum float64, n int) float64 { return sum / float64(max(1, n)) }

// perSecond is 0 where no time has passed.
func perSecond(n int, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// Overview describes the run.
func (t *Trainer) Overview() Overview {
	o := Overview{
		Decayed: t.optimizer.Decayed(), Steps: t.plan.steps, StepsPerEpoch: t.plan.inEpoch(0), Epochs: t.state.NumTrainEpochs,
		StartStep: t.state.GlobalStep, BatchesPerStep: t.plan.perStep, Ranks: t.task.Comm.Size(), Memory: t.memory(),
	}
	for _, p := range t.task.Params {
		o.Parameters += p.Size()
		if p.Trainable() {
			o.Trainable += p.Size()
		}
	}
	return o
}

func (t *Trainer) memory() Memories {
	m := Memories{Optimizer: t.optimizer.Bytes()}
	for _, p := range t.task.Params {
		m.Weights += p.Bytes()
		if p.Trainable() {
			gradient := 4 * int64(p.Size())
			m.Gradients += gradient
			m.Weights -= gradient
		}
	}
	m.Gradients *= int64(1 + treeHeight(t.reducer.shards)) // sums of shards wait for their neighbours
	if b, ok := t.task.Program.(interface{ Bytes() int64 }); ok {
		m.Activations = b.Bytes()
	}
	return m
}

// result sums the run up.
func (t *Trainer) result(alreadyFinished bool) Result {
	p := t.progress
	r := Result{
		State: t.state, Steps: t.state.GlobalStep, TrainLoss: mean(p.RunLoss, p.RunTokens), Tokens: p.NumTokens,
		TokensPerSecond: perSecond(p.RunTokens, p.RunSeconds), StopReason: t.stop, AlreadyFinished: alreadyFinished, Eval: map[string]float64{},
	}
	for k, v := range t.lastEvaluation() {
		if isEvalKey(k) && finite(v) {
			r.Eval[k] = v
		}
	}
	return r
}

// lastEvaluation is the newest row of the history with an evaluation's metrics, or nil.
func (t *Trainer) lastEvaluation() checkpoint.Row {
	for _, row := range slices.Backward(t.state.LogHistory) {
		for k := range row {
			if isEvalKey(k) {
				return row
			}
		}
	}
	return nil
}
