package recipe

import (
	"context"
	"errors"
	"fmt"
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
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/plot"
	"mambatrain/trainer/tensorboard"
)

// Options say how a run is carried out; [Config] says what it computes.
type Options struct {
	Mode     checkpoint.Mode      // what to do with the contents of output_dir
	Force    bool                 // resume although settings have changed
	Comm     trainer.Communicator // the ranks of the run; nil: this process alone
	Hub      *hub.Client          // where names of models and data sets are looked up; nil: the one that the environment names
	Version  string               // of the program; all ranks of a run must have the same
	Observer trainer.Observer     // told of every event; may be nil
	Warn     func(error)          // told of what went wrong without ending the run; may be nil
}

// Run is a training run whose model, adapter and data are loaded.
type Run struct {
	Config    Config
	ModelDir  string
	Model     *mamba.Model
	Adapter   *lora.Adapter        // nil: full training
	Tokenizer *tokenizer.Tokenizer // nil: the model has none
	Scratch   bool                 // the model's weights are new
	Data      *data.Dataset        // to train on
	Loader    *data.Loader         // its micro-batches
	Eval      []trainer.EvalSet
	Rows      int // computed at once

	options  Options
	datasets []*data.Dataset
	program  *ag.Program
	output   *checkpoint.Output
	made     []string // directories that this run made, the innermost first
	started  bool     // the trainer has begun: the contents of the output directory stay
	trainer  *trainer.Trainer
	logs     []runLog // empty until the run has begun
}

// runLog is a file that follows a run.
type runLog interface {
	Observe(trainer.Event)
	Close() error
}

// Train carries out a run from its configuration to the result in its output directory.
func Train(ctx context.Context, c Config, o Options) (trainer.Result, error) {
	if err := CheckOutput(c.OutputDir, o); err != nil {
		return trainer.Result{}, err
	}
	j, err := Prepare(ctx, c, o)
	if err != nil {
		return trainer.Result{}, err
	}
	defer j.Close()
	return j.Train(ctx)
}

// CheckOutput refuses an output directory that a fresh run may not use. It costs nothing, unlike loading a model.
func CheckOutput(dir string, o Options) error {
	if o.Mode != checkpoint.Fresh || o.Comm != nil && o.Comm.Rank() > 0 {
		return nil
	}
	return checkpoint.CheckFresh(checkpoint.Disk{}, dir)
}

// Prepare loads model, adapter and data, and chooses the number of rows that are computed at once. It writes nothing.
func Prepare(ctx context.Context, c Config, o Options) (*Run, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	j := &Run{Config: c, options: o.withDefaults()}
	if err := j.load(ctx); err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

func (o Options) withDefaults() Options {
	if o.Comm == nil {
		o.Comm = trainer.Alone{}
	}
	if o.Hub == nil {
		o.Hub = hub.New()
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	return o
}

func (j *Run) load(ctx context.Context) (err error) {
	if err := j.loadModel(ctx); err != nil {
		return err
	}
	if err := j.adapt(); err != nil {
		return err
	}
	if err := j.loadData(ctx); err != nil {
		return err
	}
	if j.Rows = j.Config.MaxTokens; j.Rows == 0 {
		j.Rows, err = j.chooseRows()
	}
	return err
}

// Train runs the training. On ranks other than 0 the result is empty.
func (j *Run) Train(ctx context.Context) (r trainer.Result, err error) {
	if err := j.open(); err != nil {
		return r, err
	}
	if j.Rows, err = trainer.FromRank(j.options.Comm, 0, j.Rows); err != nil { // machines may differ in memory
		return r, err
	}
	if err := j.build(j.Config.Train); err != nil {
		return r, err
	}
	return j.trainer.Run(ctx)
}

// Plan does everything that precedes the first step, without an output directory.
func (j *Run) Plan() (trainer.Overview, error) {
	if err := j.build(withoutOutput(j.Config.Train)); err != nil {
		return trainer.Overview{}, err
	}
	return j.trainer.Overview(), nil
}

// withoutOutput returns settings for a run that cannot save its best model. Early stopping, which needs the same data and
// the same metric, stands in, so that both are checked.
func withoutOutput(s trainer.Config) trainer.Config {
	if s.LoadBestModelAtEnd {
		s.LoadBestModelAtEnd, s.EarlyStoppingPatience = false, max(1, s.EarlyStoppingPatience)
	}
	return s
}

// build compiles the program and makes the trainer.
func (j *Run) build(s trainer.Config) error {
	if err := j.compile(); err != nil {
		return err
	}
	task, err := j.task()
	if err != nil {
		return err
	}
	j.trainer, err = trainer.New(s, task)
	return err
}

// TimeLeft estimates the time of the remaining steps without evaluations, from the first rows of the next one; 0 if it
// is unknown.
func (j *Run) TimeLeft(ctx context.Context, o trainer.Overview) time.Duration {
	rows, took, err := j.trainer.Rehearse(ctx)
	if err != nil || rows == 0 {
		return 0 // the step itself will report what is wrong
	}
	epochs := float64(o.Steps-o.StartStep) / float64(max(1, o.StepsPerEpoch))
	all := epochs * float64(j.Data.Stats().Tokens) / float64(rows*o.Ranks) * float64(took)
	return time.Duration(min(all, math.MaxInt64/2))
}

// Work is the floating-point operations of matrix products that training does for one input token.
func (j *Run) Work() float64 {
	const rows = 1000 // work is proportional to them
	return WorkOf(j.Model, rows, rows).Total() / rows
}

// loadModel reads the base model, or makes one where the directory has a configuration and no weights.
func (j *Run) loadModel(ctx context.Context) (err error) {
	c := j.Config
	if j.ModelDir, err = modelDirectory(ctx, j.options.Hub, c.Model); err != nil {
		return err
	}
	if j.Scratch = !hasWeights(j.ModelDir); j.Scratch && (c.LoRA != nil || c.Adapter != "") {
		return fault.NotFound("model %s has no %s: an adapter needs a trained base", j.ModelDir, weights.ModelFile)
	}
	sizes, err := mamba.LoadConfig(j.ModelDir)
	if err != nil {
		return err
	}
	if err := checkConstantMemory(&c, sizes); err != nil {
		return err
	}
	if j.Scratch {
		j.Model, err = NewModel(sizes, mamba.Init(c.Init), uint64(c.Seed))
		if err != nil {
			return err
		}
	} else if j.Model, err = mamba.Load(j.ModelDir, j.loadOptions()); err != nil {
		return err
	}
	j.Model.Checkpointing = c.GradientCheckpointing
	j.Model.LabelSmoothing = c.Train.LabelSmoothingFactor
	j.Model.NeftuneAlpha = c.Train.NeftuneNoiseAlpha
	j.Tokenizer, err = openTokenizer(j.ModelDir)
	return err
}

// loadOptions keep the base in the kernels' layout from the start if nothing else needs it.
func (j *Run) loadOptions() mamba.LoadOptions {
	c := j.Config
	return mamba.LoadOptions{BF16: c.Precision == "bf16", Packed: c.LoRA != nil && c.Adapter == "" && leavesBaseAlone(*c.LoRA)}
}

// adapt puts the adapter into the model, or selects what full training trains.
func (j *Run) adapt() (err error) {
	c := j.Config
	switch {
	case c.Adapter != "":
		return j.continueAdapter()
	case c.LoRA == nil:
		return invalid(trainer.SelectTrainable(j.Model.Params(), c.Train.Trainable))
	}
	if j.Adapter, err = NewAdapter(j.Model, *c.LoRA, uint64(c.Seed)); err != nil {
		return invalid(err)
	}
	return j.recordBase()
}

// recordBase notes in the adapter which weights it belongs to.
func (j *Run) recordBase() error {
	t, err := weights.Open(j.ModelDir)
	if err != nil {
		return err
	}
	defer t.Close()
	j.Adapter.Base, err = lora.Fingerprint(t)
	return err
}

// continueAdapter trains an adapter further. A lora section beside it must say what the adapter is.
func (j *Run) continueAdapter() (err error) {
	c := j.Config
	if err := checkAdapter(c.Adapter); err != nil {
		return err
	}
	for _, p := range j.Model.Params() {
		p.Freeze()
	}
	if j.Adapter, err = lora.Load(c.Adapter, j.Model); err != nil {
		return err
	}
	if c.LoRA != nil {
		var faults fault.List
		faults.Include("lora", c.LoRA.Differences(j.Adapter.Config))
		if err := faults.Err(); err != nil {
			return err
		}
		j.Adapter.Config.LoraDropout, j.Adapter.Config.LoraPlusRatio = c.LoRA.LoraDropout, c.LoRA.LoraPlusRatio
	}
	return j.Adapter.Train()
}

// dataOptions are the options of the data section.
func (j *Run) dataOptions() data.Config {
	o := j.Config.Data.Config
	o.Hub = j.options.Hub
	return o
}

// invalid makes err, if it is not nil, a fault of the configuration.
func invalid(err error) error {
	var l fault.List
	l.Include("", err)
	return l.Err()
}

// loadData opens the training data and the sets to evaluate on.
func (j *Run) loadData(ctx context.Context) error {
	c := j.Config
	all, err := j.dataset(ctx, c.Data.Train, j.dataOptions())
	if err != nil {
		return err
	}
	j.Data = all
	evalOptions := j.dataOptions()
	evalOptions.Shuffle, evalOptions.MaxTrainSamples, evalOptions.CarryState = false, 0, false
	if c.Data.EvalFraction > 0 {
		train, eval, err := all.Split(c.Data.EvalFraction, uint64(c.Seed)+splitStream)
		if err != nil {
			return invalid(err)
		}
		j.datasets = []*data.Dataset{train, eval}
		j.Data = train
		if err := j.addEval("", eval); err != nil {
			return err
		}
	}
	for _, set := range c.Data.Eval {
		d, err := j.dataset(ctx, set.Sources, evalOptions)
		if err != nil {
			return err
		}
		if err := j.addEval(set.Name, d); err != nil {
			return err
		}
	}
	j.Loader, err = j.Data.Loader(c.Train.PerDeviceTrainBatchSize, uint64(c.Seed))
	return err
}

// dataset opens one data set and checks its ids against the model.
func (j *Run) dataset(ctx context.Context, in Sources, o data.Config) (*data.Dataset, error) {
	d, err := data.Open(ctx, in, j.Tokenizer, o)
	if err != nil {
		return nil, err
	}
	j.datasets = append(j.datasets, d)
	if s, v := d.Stats(), j.Model.Config.VocabSize; s.MaxToken >= v {
		return nil, fmt.Errorf("data %s: token id %d is beyond the model's vocabulary of %d", in[0].Path, s.MaxToken, v)
	}
	return d, nil
}

func (j *Run) addEval(name string, d *data.Dataset) error {
	l, err := d.Loader(j.Config.Train.PerDeviceEvalBatchSize, 0)
	if err != nil {
		return err
	}
	j.Eval = append(j.Eval, trainer.EvalSet{Name: name, Source: fromLoader(l)})
	return nil
}

// open takes the output directory, which belongs to rank 0. A run that resumes keeps the number of rows that it began with.
func (j *Run) open() (err error) {
	if j.options.Comm.Rank() > 0 {
		return nil
	}
	j.made = missing(j.Config.OutputDir)
	if j.output, err = checkpoint.Open(checkpoint.Disk{}, j.Config.OutputDir, j.options.Mode); err != nil {
		return err
	}
	state := j.output.Finished()
	if checkpoint, _ := j.output.Checkpoint(); checkpoint != nil {
		state = checkpoint.State
	}
	if state != nil && j.Config.MaxTokens == 0 {
		j.Rows = state.Progress().Rows
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

// compile builds the program that computes losses and gradients.
func (j *Run) compile() (err error) {
	if err := j.checkMemory(); err != nil {
		return err
	}
	PackFrozen(j.Model)
	g := ag.NewGraph(ag.Options{Rows: j.Rows, Carry: j.Config.Data.CarryState})
	j.program, err = g.Compile(j.Model.Loss(g))
	return err
}

// PackFrozen keeps frozen weights in the kernels' layout only, which halves their memory.
func PackFrozen(m *mamba.Model) {
	for _, s := range m.Slots() {
		if w := s.Weight(); !w.Trainable() {
			w.PackOnly()
		}
	}
}

// task joins everything to what a run works on.
func (j *Run) task() (trainer.Task, error) {
	c := j.Config
	task := trainer.Task{
		Params: j.params(), Program: j.program, Rows: j.Rows, Train: fromLoader(j.Loader), Eval: j.Eval,
		Save: j.save, Load: j.restore, Publish: j.publish, Output: j.output, Seed: uint64(c.Seed), Identity: j.identity(),
		Observer: trainer.Observers(j.mark, j.options.Observer, j.keepLogs), Force: j.options.Force,
	}
	task.Shards = j.shards()
	if d := c.Distributed; d != nil {
		task.ShardOptimizer, task.BucketBytes = d.ShardOptimizer, d.BucketMB<<20
	}
	task.Comm, task.Overlap, task.Facts = j.options.Comm, SpareCore(j.options.Comm), map[string]string{"version": j.options.Version}
	if j.Adapter != nil {
		task.LoRAPlusRatio = j.Adapter.Config.LoraPlusRatio
	}
	if len(c.Train.SamplePrompts) > 0 {
		if j.Tokenizer == nil {
			return task, fault.Fault{Path: "train.sample_prompts", Problem: fmt.Sprintf("model %s has no tokenizer.json", j.ModelDir)}
		}
		task.Sample = j.sample
	}
	return task, nil
}

// shards is how many micro-batches a step computes side by side.
func (j *Run) shards() int {
	if d := j.Config.Distributed; d != nil && d.Shards > 0 {
		return d.Shards
	}
	return j.options.Comm.Size()
}

// params are all parameters of model and adapter.
func (j *Run) params() []*ag.Param {
	all := j.Model.Params()
	if j.Adapter == nil {
		return all
	}
	seen := map[*ag.Param]bool{}
	for _, p := range all {
		seen[p] = true
	}
	for _, p := range j.Adapter.Params() {
		if !seen[p] {
			all = append(all, p)
		}
	}
	return all
}

// identity is what must not change within a run, beside what the trainer knows.
func (j *Run) identity() map[string]string {
	c := j.Config
	id := map[string]string{
		"data":                   j.Data.Fingerprint(),
		"data.shuffle":           fmt.Sprint(c.Data.Shuffle),
		"data.packing":           fmt.Sprint(c.Data.Packing),
		"data.carry_state":       fmt.Sprint(c.Data.CarryState),
		"precision":              c.Precision,
		"gradient_checkpointing": fmt.Sprint(c.GradientCheckpointing),
	}
	if j.Scratch {
		id["init"] = c.Init
	}
	if j.Adapter != nil {
		for _, s := range j.Adapter.Config.Settings() {
			id["lora."+s.Key] = s.Value
		}
	}
	return id
}

// save writes the weights and what makes the directory complete in itself.
func (j *Run) save(dir string) error {
	var err error
	if j.Adapter != nil {
		err = j.Adapter.Save(dir, lora.SaveOptions{BaseModel: j.Config.Model})
	} else {
		err = j.Model.Save(dir, mamba.SaveOptions{DType: weights.F32, ShardBytes: weights.DefaultShardBytes})
	}
	if err != nil {
		return err
	}
	text, err := j.Config.YAML()
	if err != nil {
		return err
	}
	err = atomicfile.Write(filepath.Join(dir, "config.yaml"), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	return CopyModelFiles(dir, j.ModelDir)
}

// restore reads back what save wrote.
func (j *Run) restore(dir string) error {
	if j.Adapter != nil {
		return j.Adapter.Restore(dir)
	}
	return weights.ReadInto(dir, j.Model.Params())
}

// sample continues a prompt with the model as it is.
func (j *Run) sample(ctx context.Context, prompt string) (string, error) {
	if j.Adapter != nil {
		j.Adapter.Invalidate() // the steps have changed it
	}
	l := Model{Model: j.Model, Dir: j.ModelDir, Tokenizer: j.Tokenizer}
	ids, err := l.Encode(prompt)
	if err != nil {
		return "", err
	}
	o := j.Model.DefaultGenerate()
	o.Vocab, o.Suppress = l.Vocabulary()
	out, err := j.Model.Generate(ctx, [][]int{ids}, o)
	if err != nil {
		return "", err
	}
	return j.Tokenizer.DecodeText(out[0].IDs), nil
}

// mark records that the trainer has looked at the output directory and is about to make its first step.
func (j *Run) mark(e trainer.Event) {
	if _, ok := e.(trainer.Started); ok {
		j.started = true
	}
}

// keepLogs writes the journal and the TensorBoard file. They are opened when the run goes on or starts, so that a finished
// one is left unchanged.
func (j *Run) keepLogs(e trainer.Event) {
	_, resumed := e.(trainer.Resumed)
	if _, started := e.(trainer.Started); (started || resumed) && len(j.logs) == 0 {
		j.openLogs()
	}
	for _, log := range j.logs {
		log.Observe(e)
	}
}

func (j *Run) openLogs() {
	j.logs = append(j.logs, trainer.NewJournal(checkpoint.Disk{}, filepath.Join(j.Config.OutputDir, checkpoint.JournalFile)))
	dir := j.Config.Train.LoggingDir
	if dir == "" {
		dir = filepath.Join(j.Config.OutputDir, checkpoint.LogsDir)
	}
	board, err := tensorboard.New(checkpoint.Disk{}, dir, time.Now)
	if err != nil {
		j.options.Warn(err)
		return
	}
	j.logs = append(j.logs, board)
}

// publish adds to the result what is drawn from the whole run.
func (j *Run) publish(dir string, st *checkpoint.State) error {
	name := filepath.Base(j.Config.OutputDir)
	if err := plot.WriteFiles(dir, plot.History{Name: name, Rows: st.LogHistory}); err != nil {
		j.options.Warn(err)
	}
	return j.writeModelCard(dir, name, st)
}

// Close gives everything back. Directories that were made for a run that never began are removed.
func (j *Run) Close() {
	for _, log := range j.logs {
		if err := log.Close(); err != nil {
			j.options.Warn(err)
		}
	}
	if j.output != nil {
		j.output.Close()
		if len(j.made) > 0 && !j.started {
			os.Remove(filepath.Join(j.Config.OutputDir, ".lock"))
			for _, dir := range j.made {
				os.Remove(dir)
			}
		}
	}
	for _, d := range j.datasets {
		d.Close()
	}
}
