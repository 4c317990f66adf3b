package recipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/data"
	"mambatrain/data/hub"
	"mambatrain/data/tokenizer"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// Options control how a run is executed; [Config] determines what it computes.
type Options struct {
	Mode     checkpoint.Mode      // how to treat the contents of output_dir
	Force    bool                 // resume even if settings have changed
	Step     *int                 // resume from the checkpoint of this step; nil: the newest
	Comm     trainer.Communicator // the ranks of the run; nil: a single process
	Hub      *hub.Client          // looks up models and datasets by name; nil: configured by the environment
	Version  string               // version of the program; must be the same on all ranks
	Observer trainer.Observer     // receives every event; may be nil
	Warn     func(error)          // receives problems that do not end the run; may be nil
}

// Run is a training run with its model, adapter, and data loaded. [Prepare] creates one; the caller must call Close.
type Run struct {
	Config      Config
	ModelDir    string
	Model       *mamba.Model
	Adapter     *lora.Adapter        // nil: full training
	Tokenizer   *tokenizer.Tokenizer // nil: the model has none
	FromScratch bool                 // the model's weights are new
	Data        *data.Dataset        // training data
	Loader      *data.Loader         // micro-batches of Data
	Eval        []trainer.EvalSet
	Rows        int    // computed at once
	Device      string // device that computes steps and evaluations, set when the program is compiled; "": the CPU

	options       Options
	continued     *lora.Directory // the adapter to train further; nil: none
	tokenizerPath string          // path of the configured tokenizer; "": the model's tokenizer is used

	resized  int // rows of embedding and head after resizing; 0: not resized
	datasets []*data.Dataset
	program  *ag.Program
	output   *checkpoint.Output
	segments io.Closer // file of states between segments; nil: in memory
	made     []string  // directories created by this run, innermost first
	started  bool      // the trainer has started: keep the contents of the output directory
	trainer  *trainer.Trainer
	logs     []runLog // empty until the run starts
}

// runLog is a file that records the events of a run.
type runLog interface {
	Observe(trainer.Event)
	Close() error
}

// Train executes a run, from its configuration to the result in its output directory. An interrupted run ends with a
// checkpoint and a *[trainer.StopError].
func Train(ctx context.Context, c Config, o Options) (trainer.Result, error) {
	if err := CheckOutput(c.OutputDir, o); err != nil {
		return trainer.Result{}, err
	}
	r, err := Prepare(ctx, c, o)
	if err != nil {
		return trainer.Result{}, err
	}
	defer r.Close()
	return r.Train(ctx)
}

// CheckOutput returns an error if a fresh run may not use the output directory. It is cheap, unlike loading a model.
func CheckOutput(dir string, o Options) error {
	if o.Mode != checkpoint.Fresh || o.Comm != nil && o.Comm.Rank() > 0 {
		return nil
	}
	return checkpoint.CheckFresh(checkpoint.Disk{}, dir)
}

// ResultIn returns the kind of result in an output directory, "adapter" or "model", or "" if there is none.
func ResultIn(dir string) string {
	switch {
	case dir == "":
	case has(dir, lora.ConfigFile):
		return "adapter"
	case has(dir, mamba.ConfigFile):
		return "model"
	}
	return ""
}

// Prepare loads the model, adapter, and data, and chooses the number of rows to compute at once. It writes nothing.
func Prepare(ctx context.Context, c Config, o Options) (*Run, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &Run{Config: c, options: o.withDefaults()}
	if err := r.load(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (o Options) withDefaults() Options {
	if o.Comm == nil {
		o.Comm = trainer.SingleProcess{}
	}
	if o.Hub == nil {
		o.Hub = hub.New()
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	return o
}

func (r *Run) load(ctx context.Context) (err error) {
	if err := r.loadModel(ctx); err != nil {
		return err
	}
	if err := r.adapt(); err != nil {
		return err
	}
	if err := r.loadData(ctx); err != nil {
		return err
	}
	if r.Rows = r.Config.MaxTokens; r.Rows == 0 {
		r.Rows, err = r.chooseRows()
	}
	return err
}

// Train runs the training. It may be called only once. On ranks other than 0 the result is empty.
func (r *Run) Train(ctx context.Context) (result trainer.Result, err error) {
	if err := r.open(); err != nil {
		return result, err
	}
	if r.Rows, err = trainer.BroadcastInt(r.options.Comm, 0, r.Rows); err != nil { // the memory of machines may differ
		return result, err
	}
	if err := r.build(r.Config.Train); err != nil {
		return result, err
	}
	result, err = r.trainer.Run(ctx)
	return result, deviceAdvice(err)
}

// Plan does everything that precedes the first step but writes nothing. If the run would resume, it describes the
// remaining steps. It is called instead of Train.
func (r *Run) Plan() (o trainer.Overview, err error) {
	if err := r.look(); err != nil {
		return o, err
	}
	settings := r.Config.Train
	if r.output == nil {
		settings = withoutOutput(settings)
	}
	if err := r.build(settings); err != nil {
		return o, err
	}
	if err := r.trainer.Preview(); err != nil {
		return o, err
	}
	return r.trainer.Overview(), nil
}

// look inspects the output directory that a run would resume in, if there is one.
func (r *Run) look() error {
	if r.options.Mode != checkpoint.Resume {
		return nil
	}
	there, err := checkpoint.Look(checkpoint.Disk{}, r.Config.OutputDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.output = there
	return r.findStart()
}

// withoutOutput returns settings for a run that cannot save its best model. Early stopping, which needs the same data
// and metric, replaces load_best_model_at_end, so that both are checked.
func withoutOutput(s trainer.Config) trainer.Config {
	if s.LoadBestModelAtEnd {
		s.LoadBestModelAtEnd, s.EarlyStoppingPatience = false, max(1, s.EarlyStoppingPatience)
	}
	return s
}

// build compiles the program and creates the trainer.
func (r *Run) build(s trainer.Config) error {
	if err := r.compile(); err != nil {
		return err
	}
	task, err := r.task()
	if err != nil {
		return err
	}
	if r.trainer, err = trainer.New(s, task); err != nil {
		return deviceAdvice(err)
	}
	if why := r.trainer.UpdatesOnHost(); why != "" && r.options.Comm.Rank() == 0 {
		r.options.Warn(fmt.Errorf("the CPU updates the weights, which are copied in each step: %s", why))
	}
	return nil
}

// TimeLeft estimates the time of the remaining steps, excluding evaluations, by running the first rows of the next
// step. It returns 0 if the time is unknown. It may be called after Plan, or once [trainer.StartEvent] has been
// observed.
func (r *Run) TimeLeft(ctx context.Context, o trainer.Overview) time.Duration {
	rows, took, err := r.trainer.MeasureStep(ctx)
	if err != nil || rows == 0 {
		return 0 // the step itself will report the error
	}
	epochs := float64(o.Steps-o.StartStep) / float64(max(1, o.StepsPerEpoch))
	all := epochs * r.Data.EpochTokens() / float64(rows*o.Ranks) * float64(took)
	return time.Duration(min(all, math.MaxInt64/2))
}

// Work returns the number of floating-point operations in matrix products per input token during training.
func (r *Run) Work() float64 {
	const rows = 1000 // work is proportional to the number of rows
	return WorkOf(r.Model, rows, rows).Total() / rows
}

// open opens the output directory on rank 0.
func (r *Run) open() (err error) {
	if r.options.Comm.Rank() > 0 {
		return nil
	}
	r.made = missing(r.Config.OutputDir)
	if r.output, err = checkpoint.Open(checkpoint.Disk{}, r.Config.OutputDir, r.options.Mode); err != nil {
		return err
	}
	if err := r.output.Unlocked(); err != nil {
		r.options.Warn(fmt.Errorf("output_dir: the file system of %s has no locks (%w), so nothing keeps a second run from writing there", r.Config.OutputDir, err))
	}
	return r.findStart()
}

// findStart selects the checkpoint to resume from and the number of rows.
func (r *Run) findStart() error {
	if r.options.Step != nil {
		if err := r.output.GoBack(*r.options.Step); err != nil {
			return err
		}
	}
	state := r.output.Finished()
	if checkpoint, _ := r.output.Checkpoint(); checkpoint != nil {
		state = checkpoint.State
	}
	if state != nil && r.Config.MaxTokens == 0 {
		r.Rows = r.resumedRows(state.Progress())
	}
	return nil
}

// resumedRows returns the number of rows for the remainder of a run: as many as before, because parts of another length
// round differently, unless a forced change of the segments or of the data requires another number.
func (r *Run) resumedRows(was *checkpoint.Progress) int {
	n := r.Config.Train.SegmentTokens
	if before := cmp.Or(was.Settings["train.segment_tokens"], "0"); before != strconv.Itoa(n) { // absent without segments
		return r.Rows
	}
	longest, _ := r.lengths()
	if n > 0 {
		longest = min(longest, n)
	}
	return max(was.Rows, longest)
}

// missing returns the directories that creating dir would create, innermost first.
func missing(dir string) (list []string) {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return list
		}
		list = append(list, dir)
	}
}

// Close frees the data and releases the output directory. It removes directories that were created for a run that never
// started.
func (r *Run) Close() {
	for _, log := range r.logs {
		if err := log.Close(); err != nil {
			r.options.Warn(err)
		}
	}
	if r.output != nil {
		r.closeOutput()
	}
	if r.segments != nil {
		if err := r.segments.Close(); err != nil {
			r.options.Warn(err)
		}
	}
	for _, d := range r.datasets {
		d.Close()
	}
	if r.continued != nil {
		r.continued.Close()
	}
}

func (r *Run) closeOutput() {
	if len(r.made) == 0 || r.started {
		r.output.Close()
		return
	}
	r.output.Abandon()
	for _, dir := range r.made {
		os.Remove(dir) // fails if another run has started there
	}
}
