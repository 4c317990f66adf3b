package recipe

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
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

// Options say how a run is carried out; [Config] says what it computes.
type Options struct {
	Mode     checkpoint.Mode      // what to do with the contents of output_dir
	Force    bool                 // resume although settings have changed
	Step     int                  // resume from the checkpoint of this step; 0: from the newest
	Comm     trainer.Communicator // the ranks of the run; nil: this process alone
	Hub      *hub.Client          // where names of models and data sets are looked up; nil: the one that the environment names
	Version  string               // of the program; all ranks of a run must have the same
	Observer trainer.Observer     // told of every event; may be nil
	Warn     func(error)          // told of what went wrong without ending the run; may be nil
}

// Run is a training run whose model, adapter and data are loaded. [Prepare] makes one; Close must be called.
type Run struct {
	Config      Config
	ModelDir    string
	Model       *mamba.Model
	Adapter     *lora.Adapter        // nil: full training
	Tokenizer   *tokenizer.Tokenizer // nil: the model has none
	FromScratch bool                 // the model's weights are new
	Data        *data.Dataset        // to train on
	Loader      *data.Loader         // its micro-batches
	Eval        []trainer.EvalSet
	Rows        int    // computed at once
	Device      string // that computes steps and evaluations, once the program is compiled; "": the CPU

	options       Options
	continued     *lora.Directory // the adapter that is trained further; nil: none
	tokenizerPath string          // of the tokenizer that is named; "": the model's is used

	resized  int // rows of table and head, where the run has made more of them; 0: it has not
	datasets []*data.Dataset
	program  *ag.Program
	output   *checkpoint.Output
	segments io.Closer // the file of states between segments; nil: in memory
	made     []string  // directories that this run made, the innermost first
	started  bool      // the trainer has begun: the contents of the output directory stay
	trainer  *trainer.Trainer
	logs     []runLog // empty until the run has begun
}

// runLog is a file that follows a run.
type runLog interface {
	Observe(trainer.Event)
	Close() error
}

// Train carries out a run from its configuration to the result in its output directory. An interrupted run ends with a
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

// CheckOutput refuses an output directory that a fresh run may not use. It costs nothing, unlike loading a model.
func CheckOutput(dir string, o Options) error {
	if o.Mode != checkpoint.Fresh || o.Comm != nil && o.Comm.Rank() > 0 {
		return nil
	}
	return checkpoint.CheckFresh(checkpoint.Disk{}, dir)
}

// ResultIn returns what a run has left in its output directory, "adapter" or "model"; "" for nothing.
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

// Prepare loads model, adapter and data, and chooses the number of rows that are computed at once. It writes nothing.
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

// Train runs the training, once. On ranks other than 0 the result is empty.
func (r *Run) Train(ctx context.Context) (result trainer.Result, err error) {
	if err := r.open(); err != nil {
		return result, err
	}
	if r.Rows, err = trainer.BroadcastInt(r.options.Comm, 0, r.Rows); err != nil { // machines may differ in memory
		return result, err
	}
	if err := r.build(r.Config.Train); err != nil {
		return result, err
	}
	return r.trainer.Run(ctx)
}

// Plan does everything that precedes the first step and writes nothing, in place of Train.
func (r *Run) Plan() (trainer.Overview, error) {
	if err := r.build(withoutOutput(r.Config.Train)); err != nil {
		return trainer.Overview{}, err
	}
	return r.trainer.Overview(), nil
}

// withoutOutput returns settings for a run that cannot save its best model. Early stopping, which needs the same data and
// the same metric, takes its place, so that both are checked.
func withoutOutput(s trainer.Config) trainer.Config {
	if s.LoadBestModelAtEnd {
		s.LoadBestModelAtEnd, s.EarlyStoppingPatience = false, max(1, s.EarlyStoppingPatience)
	}
	return s
}

// build compiles the program and makes the trainer.
func (r *Run) build(s trainer.Config) error {
	if err := r.compile(); err != nil {
		return err
	}
	task, err := r.task()
	if err != nil {
		return err
	}
	r.trainer, err = trainer.New(s, task)
	return err
}

// TimeLeft estimates the time of the remaining steps without evaluations, by running the first rows of the next one; 0 if
// it is unknown. It can be called after Plan, or once [trainer.StartEvent] has been observed.
func (r *Run) TimeLeft(ctx context.Context, o trainer.Overview) time.Duration {
	rows, took, err := r.trainer.MeasureStep(ctx)
	if err != nil || rows == 0 {
		return 0 // the step itself will report what is wrong
	}
	epochs := float64(o.Steps-o.StartStep) / float64(max(1, o.StepsPerEpoch))
	all := epochs * float64(r.Data.Stats().Tokens) / float64(rows*o.Ranks) * float64(took)
	return time.Duration(min(all, math.MaxInt64/2))
}

// Work returns the floating-point operations of matrix products that training does for one input token.
func (r *Run) Work() float64 {
	const rows = 1000 // work is proportional to them
	return WorkOf(r.Model, rows, rows).Total() / rows
}

// open takes the output directory, which belongs to rank 0. A run that resumes keeps the number of rows that it began with.
func (r *Run) open() (err error) {
	if r.options.Comm.Rank() > 0 {
		return nil
	}
	r.made = missing(r.Config.OutputDir)
	if r.output, err = checkpoint.Open(checkpoint.Disk{}, r.Config.OutputDir, r.options.Mode); err != nil {
		return err
	}
	if r.options.Step > 0 {
		if err := r.output.GoBack(r.options.Step); err != nil {
			return err
		}
	}
	state := r.output.Finished()
	if checkpoint, _ := r.output.Checkpoint(); checkpoint != nil {
		state = checkpoint.State
	}
	if state != nil && r.Config.MaxTokens == 0 {
		r.Rows = state.Progress().Rows
	}
	return nil
}

// missing lists the directories that making dir makes, the innermost first.
func missing(dir string) (list []string) {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return list
		}
		list = append(list, dir)
	}
}

// Close frees the data and releases the output directory. Directories that were made for a run that never began are removed.
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
		os.Remove(dir) // fails if another run has begun there
	}
}
