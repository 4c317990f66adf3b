package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/data"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/atomicfile"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/plot"
	"mambatrain/trainer/tensorboard"
)

// Second seeds of the generators that draw from the run's seed, one for each use.
const (
	adapterStream = 0x6c6f7261
	splitStream   = 0x73706c6974
)

// job is a training run that is being put together.
type job struct {
	app       *app
	config    *Config
	modelDir  string
	model     *mamba.Model
	adapted   *lora.Adapter // nil: full training
	tokenizer *tokenizer.Tokenizer
	scratch   bool // the weights are fresh

	train    *data.Dataset
	loader   *data.Loader
	evals    []trainer.EvalSet
	datasets []*data.Dataset

	comm     trainer.Communicator
	rows     int // capacity of the graph
	program  *ag.Program
	output   *checkpoint.Output
	made     []string // directories that were not there before, the innermost first
	ran      bool     // the trainer has begun: what is in the output directory stays
	trainer  *trainer.Trainer
	progress *progress
	logs     []runLog // empty until the run has begun
}

// runLog is a file that follows a run.
type runLog interface {
	Observe(trainer.Event)
	Close() error
}

// prepare loads model and data and chooses the number of rows that are computed at once. It writes nothing.
func prepare(ctx context.Context, a *app, c *Config) (j *job, err error) {
	j = &job{app: a, config: c, comm: trainer.Alone{}}
	beFrugal()
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if err := j.loadModel(ctx); err != nil {
		return j, err
	}
	if err := j.adapt(); err != nil {
		return j, err
	}
	if err := j.loadData(ctx); err != nil {
		return j, err
	}
	j.rows = c.MaxTokens
	if j.rows == 0 {
		j.rows, err = j.chooseRows()
	}
	j.progress = newProgress(a)
	return j, err
}

// loadModel reads the base model, or makes one where the directory has a configuration and no weights.
func (j *job) loadModel(ctx context.Context) (err error) {
	c := j.config
	if j.modelDir, err = j.app.modelDirectory(ctx, c.Model); err != nil {
		return err
	}
	if j.scratch = !hasWeights(j.modelDir); j.scratch && (c.LoRA != nil || c.Adapter != "") {
		return misusef("model %s has no %s: an adapter needs a trained base", j.modelDir, weights.ModelFile)
	}
	sizes, err := mamba.LoadConfig(j.modelDir)
	if err != nil {
		return err
	}
	if err := checkStanding(c, sizes); err != nil {
		return err
	}
	if j.scratch {
		j.model, err = mamba.New(sizes, mamba.Init(c.Init), rand.New(rand.NewPCG(uint64(c.Seed), initStream)))
		if err != nil {
			return err
		}
	} else if j.model, err = mamba.Load(j.modelDir, j.loadOptions()); err != nil {
		return err
	}
	j.model.Checkpointing = c.GradientCheckpointing
	j.model.LabelSmoothing = c.Train.LabelSmoothingFactor
	j.model.NeftuneAlpha = c.Train.NeftuneNoiseAlpha
	j.tokenizer, err = openTokenizer(j.modelDir)
	return err
}

// loadOptions keep a base that only plain adapters stand beside in the kernels' layout from the start.
func (j *job) loadOptions() mamba.LoadOptions {
	c := j.config
	return mamba.LoadOptions{BF16: c.Precision == "bf16", Packed: c.LoRA != nil && c.Adapter == "" && readsNoWeights(*c.LoRA)}
}

// adapt puts the adapter into the model, or selects what full training trains.
func (j *job) adapt() (err error) {
	c := j.config
	switch {
	case c.Adapter != "":
		return j.continueAdapter()
	case c.LoRA == nil:
		return misuse(trainer.SelectTrainable(j.model.Params(), c.Train.Trainable))
	}
	if j.adapted, err = lora.Inject(j.model, *c.LoRA, rand.New(rand.NewPCG(uint64(c.Seed), adapterStream))); err != nil {
		return misuse(err)
	}
	return j.recordBase()
}

// recordBase notes in the adapter which weights it belongs to.
func (j *job) recordBase() error {
	t, err := weights.Open(j.modelDir)
	if err != nil {
		return err
	}
	defer t.Close()
	j.adapted.Base, err = lora.Fingerprint(t)
	return err
}

// continueAdapter trains an adapter further. A lora section beside it must say what the adapter is.
func (j *job) continueAdapter() error {
	c := j.config
	dir, err := adapterDirectory(c.Adapter)
	if err != nil {
		return err
	}
	for _, p := range j.model.Params() {
		p.Freeze()
	}
	if j.adapted, err = loadAdapter(j.model, dir); err != nil {
		return err
	}
	if c.LoRA != nil {
		var faults faultList
		for _, f := range c.LoRA.Differences(j.adapted.Config) {
			faults.add("", "lora."+f.Path, "%s", f.Problem)
		}
		if err := faults.err(); err != nil {
			return err
		}
		j.adapted.Config.LoraDropout, j.adapted.Config.LoraPlusRatio = c.LoRA.LoraDropout, c.LoRA.LoraPlusRatio
	}
	return j.adapted.Train()
}

// loadData opens the training data and the sets to evaluate on.
func (j *job) loadData(ctx context.Context) error {
	c := j.config
	all, err := j.dataset(ctx, c.Data.Train, j.app.dataOptions(c))
	if err != nil {
		return err
	}
	j.train = all
	evalOptions := j.app.dataOptions(c)
	evalOptions.Shuffle, evalOptions.MaxTrainSamples, evalOptions.CarryState = false, 0, false
	if c.Data.EvalFraction > 0 {
		train, eval, err := all.Split(c.Data.EvalFraction, uint64(c.Seed)+splitStream)
		if err != nil {
			return misuse(err)
		}
		j.datasets = []*data.Dataset{train, eval}
		j.train = train
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
	j.loader, err = j.train.Loader(c.Train.PerDeviceTrainBatchSize, uint64(c.Seed))
	return err
}

// dataset opens one data set and checks its ids against the model.
func (j *job) dataset(ctx context.Context, in sources, o data.Config) (*data.Dataset, error) {
	d, err := data.Open(ctx, in, j.tokenizer, o)
	if err != nil {
		return nil, err
	}
	j.datasets = append(j.datasets, d)
	if s, v := d.Stats(), j.model.Config.VocabSize; s.MaxToken >= v {
		return nil, fmt.Errorf("data %s: token id %d is beyond the model's vocabulary of %d", in[0].Path, s.MaxToken, v)
	}
	return d, nil
}

func (j *job) addEval(name string, d *data.Dataset) error {
	l, err := d.Loader(j.config.Train.PerDeviceEvalBatchSize, 0)
	if err != nil {
		return err
	}
	j.evals = append(j.evals, trainer.EvalSet{Name: name, Source: fromLoader(l)})
	return nil
}

// open takes the output directory, which is rank 0's. A run that goes on keeps the number of rows that it began with.
func (j *job) open(mode checkpoint.Mode) (err error) {
	if j.comm.Rank() > 0 {
		return nil
	}
	j.made = missing(j.config.OutputDir)
	if j.output, err = checkpoint.Open(checkpoint.Disk{}, j.config.OutputDir, mode); err != nil {
		return err
	}
	if mode != checkpoint.Resume {
		return nil
	}
	newest, _ := j.output.Checkpoint()
	state := j.output.Finished()
	if newest != nil {
		state = newest.State
	}
	if state == nil {
		j.app.say("%s holds no checkpoint: the run starts from the beginning", j.config.OutputDir)
		return nil
	}
	if j.config.MaxTokens == 0 {
		j.rows = state.Progress().Rows
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
func (j *job) compile() (err error) {
	if err := j.checkMemory(); err != nil {
		return err
	}
	packFrozen(j.model)
	g := ag.NewGraph(ag.Options{Rows: j.rows, Carry: j.config.Data.CarryState})
	j.program, err = g.Compile(j.model.Loss(g))
	return err
}

// packFrozen keeps frozen weights in the kernels' layout only, which halves their memory.
func packFrozen(m *mamba.Model) {
	for _, s := range m.Slots() {
		if w := s.Weight(); !w.Trainable() {
			w.PackOnly()
		}
	}
}

// task joins everything to what a run works on.
func (j *job) task() (trainer.Task, error) {
	c := j.config
	task := trainer.Task{
		Params: j.params(), Program: j.program, Rows: j.rows, Train: fromLoader(j.loader), Eval: j.evals,
		Save: j.save, Load: j.load, Publish: j.publish, Output: j.output, Seed: uint64(c.Seed), Identity: j.identity(),
		Observer: j.observer(),
	}
	task.Shards = j.shards()
	if d := c.Distributed; d != nil {
		task.ShardOptimizer, task.BucketBytes = d.ShardOptimizer, d.BucketMB<<20
	}
	task.Comm, task.Overlap, task.Facts = j.comm, spareCore(j.comm), map[string]string{"version": buildVersion().identity()}
	if j.adapted != nil {
		task.LoRAPlusRatio = j.adapted.Config.LoraPlusRatio
	}
	if len(c.Train.SamplePrompts) > 0 {
		if j.tokenizer == nil {
			return task, misusef("train.sample_prompts: model %s has no tokenizer.json", j.modelDir)
		}
		task.Sample = j.sample
	}
	return task, nil
}

// shards is how many micro-batches a step computes side by side.
func (j *job) shards() int {
	if d := j.config.Distributed; d != nil && d.Shards > 0 {
		return d.Shards
	}
	return j.comm.Size()
}

// params are all parameters of model and adapter.
func (j *job) params() []*ag.Param {
	all := j.model.Params()
	if j.adapted == nil {
		return all
	}
	seen := map[*ag.Param]bool{}
	for _, p := range all {
		seen[p] = true
	}
	for _, p := range j.adapted.Params() {
		if !seen[p] {
			all = append(all, p)
		}
	}
	return all
}

// identity is what must not change within a run, beside what the trainer knows.
func (j *job) identity() map[string]string {
	c := j.config
	id := map[string]string{
		"data":                   j.train.Fingerprint(),
		"data.shuffle":           fmt.Sprint(c.Data.Shuffle),
		"data.packing":           fmt.Sprint(c.Data.Packing),
		"data.carry_state":       fmt.Sprint(c.Data.CarryState),
		"precision":              c.Precision,
		"gradient_checkpointing": fmt.Sprint(c.GradientCheckpointing),
	}
	if j.scratch {
		id["init"] = c.Init
	}
	if j.adapted != nil {
		for _, s := range j.adapted.Config.Settings() {
			id["lora."+s.Key] = s.Value
		}
	}
	return id
}

// save writes the weights and what makes the directory complete in itself.
func (j *job) save(dir string) error {
	var err error
	if j.adapted != nil {
		err = j.adapted.Save(dir, lora.SaveOptions{BaseModel: j.config.Model})
	} else {
		err = j.model.Save(dir, mamba.SaveOptions{DType: weights.F32, ShardBytes: defaultShardBytes})
	}
	if err != nil {
		return err
	}
	text, err := j.config.yaml()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "config.yaml"), text); err != nil {
		return err
	}
	return copyCompany(dir, j.modelDir)
}

// load reads back what save wrote.
func (j *job) load(dir string) error {
	if j.adapted != nil {
		return j.adapted.Restore(dir)
	}
	return weights.ReadInto(dir, j.model.Params())
}

// sample continues a prompt with the model as it is.
func (j *job) sample(ctx context.Context, prompt string) (string, error) {
	if j.adapted != nil {
		j.adapted.Invalidate() // the steps have changed it
	}
	l := loaded{Model: j.model, dir: j.modelDir, tokenizer: j.tokenizer}
	ids, err := l.encode(prompt)
	if err != nil {
		return "", err
	}
	o := j.model.DefaultGenerate()
	o.Vocab, o.Suppress = l.vocabulary()
	out, err := j.model.Generate(ctx, [][]int{ids}, o)
	if err != nil {
		return "", err
	}
	return j.tokenizer.DecodeText(out[0].IDs), nil
}

// observer joins those who watch the run.
func (j *job) observer() trainer.Observer {
	return trainer.Observers(j.begun, j.progress.observe, j.keepLogs)
}

// begun prints the header when the run has looked at its directory and is about to make its first step.
func (j *job) begun(e trainer.Event) {
	if e, ok := e.(trainer.Started); ok {
		j.ran = true
		if !j.app.quiet {
			j.printHeader(context.Background(), e.Overview)
			j.progress.measure(j.perRow(), j.format())
		}
	}
}

// keepLogs writes the journal and the TensorBoard file. They are opened when the run goes on or starts, so that a finished
// one is left unchanged.
func (j *job) keepLogs(e trainer.Event) {
	_, resumed := e.(trainer.Resumed)
	if _, started := e.(trainer.Started); (started || resumed) && len(j.logs) == 0 {
		j.openLogs()
	}
	for _, log := range j.logs {
		log.Observe(e)
	}
}

func (j *job) openLogs() {
	j.logs = append(j.logs, trainer.NewJournal(checkpoint.Disk{}, filepath.Join(j.config.OutputDir, checkpoint.JournalFile)))
	dir := j.config.Train.LoggingDir
	if dir == "" {
		dir = filepath.Join(j.config.OutputDir, checkpoint.LogsDir)
	}
	board, err := tensorboard.New(checkpoint.Disk{}, dir, now)
	if err != nil {
		j.app.warn("%v", err)
		return
	}
	j.logs = append(j.logs, board)
}

// publish adds to the result what is drawn from the whole run.
func (j *job) publish(dir string, st *checkpoint.State) error {
	name := filepath.Base(j.config.OutputDir)
	if err := plot.WriteFiles(dir, plot.History{Name: name, Rows: st.LogHistory}); err != nil {
		j.app.warn("%v", err)
	}
	return j.writeModelCard(dir, name, st)
}

// resultFiles names the most important files of the result.
func (j *job) resultFiles() string {
	if j.adapted != nil {
		return strings.Join([]string{lora.WeightsFile, lora.ConfigFile, checkpoint.StateFile, "loss.svg"}, ", ")
	}
	return strings.Join([]string{weights.ModelFile, mamba.ConfigFile, checkpoint.StateFile, "loss.svg"}, ", ")
}

// nextCommand is what to type next.
func (j *job) nextCommand() string {
	dir := j.config.OutputDir
	switch {
	case j.adapted != nil:
		return fmt.Sprintf("mamba-train merge --adapter %s --output %s", dir, strings.TrimRight(dir, "/")+"-merged")
	case j.tokenizer != nil:
		return fmt.Sprintf("mamba-train generate --model %s --prompt TEXT", dir)
	}
	return fmt.Sprintf("mamba-train generate --model %s --prompt-ids 1,2,3", dir)
}

// close gives everything back. Directories that were made for a run that never began are removed.
func (j *job) close() {
	for _, log := range j.logs {
		if err := log.Close(); err != nil {
			j.app.warn("%v", err)
		}
	}
	if j.output != nil {
		j.output.Close()
		if len(j.made) > 0 && !j.ran {
			os.Remove(filepath.Join(j.config.OutputDir, ".lock"))
			for _, dir := range j.made {
				os.Remove(dir)
			}
		}
	}
	for _, d := range j.datasets {
		d.Close()
	}
}
