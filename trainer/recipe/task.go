package recipe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	ag "mambatrain/autograd"
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

// compile builds the program that computes losses and gradients.
func (r *Run) compile() (err error) {
	if err := r.checkMemory(); err != nil {
		return err
	}
	packFrozen(r.Model)
	o := r.graphOptions(r.Rows)
	if o.Segments && r.Config.Train.SegmentStore == "disk" {
		dir := "" // for a run that writes nothing
		if r.output != nil {
			dir = r.Config.OutputDir // which has space for checkpoints
		}
		f, err := OpenSegmentFile(dir)
		if err != nil {
			return err
		}
		o.SegmentStore, r.segments = f, f
	}
	d, err := r.Config.device()
	if err != nil {
		return err
	}
	r.program, r.Device, err = compileOn(r.Model.Loss, o, d, r.options.Warn)
	return err
}

// packFrozen stores frozen weights only in the kernels' layout, which halves their memory.
func packFrozen(m *mamba.Model) {
	for _, s := range m.Slots() {
		if w := s.Weight(); !w.Trainable() {
			w.PackOnly()
		}
	}
}

// task returns the task for the trainer.
func (r *Run) task() (trainer.Task, error) {
	c := r.Config
	task := trainer.Task{
		Params: r.params(), Program: r.program, Rows: r.Rows, Train: fromLoader(r.Loader), Eval: r.Eval,
		Storage: trainer.Storage{Output: r.output, Save: r.save, Load: r.restore, Publish: r.publish},
		Seed:    uint64(c.Seed), Identity: r.identity(), Force: r.options.Force,
		Observer: trainer.Observers(r.mark, r.options.Observer, r.writeLogs), Ranks: r.ranks(), Kernels: r.Device,
	}
	if r.Adapter != nil {
		task.LoRAPlusRatio = r.Adapter.Config.LoraPlusRatio
	}
	if len(c.Train.SamplePrompts) > 0 {
		if err := r.checkSamplePrompts(); err != nil {
			return task, err
		}
		task.Sample = r.sample
	}
	return task, nil
}

// ranks returns how the run is divided among processes.
func (r *Run) ranks() trainer.Ranks {
	ranks := trainer.Ranks{
		Comm: r.options.Comm, Overlap: SpareCore(r.options.Comm), Facts: map[string]string{"version": r.options.Version},
	}
	if d := r.Config.Distributed; d != nil {
		ranks.Shards, ranks.ShardOptimizer, ranks.BucketBytes = d.Shards, d.ShardOptimizer, d.BucketMB<<20
	}
	return ranks
}

// params returns all parameters of the model and the adapter.
func (r *Run) params() []*ag.Param {
	all := r.Model.Params()
	if r.Adapter == nil {
		return all
	}
	seen := map[*ag.Param]bool{}
	for _, p := range all {
		seen[p] = true
	}
	for _, p := range r.Adapter.Params() {
		if !seen[p] {
			all = append(all, p)
		}
	}
	return all
}

// identity returns the settings that must not change within a run, in addition to those the trainer knows.
func (r *Run) identity() map[string]string {
	c := r.Config
	id := map[string]string{
		"data":                   r.Data.Fingerprint(),
		"data.shuffle":           fmt.Sprint(c.Data.Shuffle),
		"data.packing":           fmt.Sprint(c.Data.Packing),
		"data.carry_state":       fmt.Sprint(c.Data.CarryState),
		"data.train.weight":      c.Data.Train.weights(),
		"precision":              r.precision(),
		"gradient_checkpointing": fmt.Sprint(c.GradientCheckpointing),
	}
	if c.Data.Packing {
		id["data.max_length"] = fmt.Sprint(c.Data.MaxLength)
	}
	if r.FromScratch {
		id["init"] = c.Init
	}
	if r.resized > 0 {
		id["vocab_size"] = fmt.Sprint(r.resized)
	}
	if r.Adapter != nil {
		if r.Adapter.Base != "" {
			id["base"] = r.Adapter.Base
		}
		for _, s := range r.Adapter.Config.Settings() {
			id["lora."+s.Key] = s.Value
		}
	}
	return id
}

// precision returns the form of the weights used in the run.
func (r *Run) precision() string {
	switch {
	case r.Config.Precision != string(mamba.Stored):
		return r.Config.Precision
	case r.Model.Config.Blocks(mamba.Stored) != "":
		return r.Model.Config.Blocks(mamba.Stored)
	}
	return string(mamba.Float32)
}

// save writes the weights and everything else that makes the directory self-contained.
func (r *Run) save(dir string) error {
	var err error
	if r.Adapter != nil {
		err = r.Adapter.Save(dir, lora.SaveOptions{BaseModel: r.Config.Model})
	} else {
		err = r.Model.Save(dir, mamba.SaveOptions{DType: weights.F32, ShardBytes: weights.DefaultShardBytes})
	}
	if err != nil {
		return err
	}
	text, err := r.Config.YAML()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "config.yaml"), text); err != nil {
		return err
	}
	if err := copyTokenizer(dir, r.tokenizerPath, r.ModelDir); err != nil {
		return err
	}
	if err := copyGenerationConfig(dir, r.ModelDir); err != nil {
		return err
	}
	if id, ok := r.endOfText(); ok {
		return mamba.EndTextsIn(dir, id)
	}
	return nil
}

// restore reads back what save wrote.
func (r *Run) restore(dir string) error {
	if r.Adapter != nil {
		return r.Adapter.Restore(dir)
	}
	trained := slices.DeleteFunc(r.Model.Params(), func(p *ag.Param) bool { return !p.Trainable() })
	return weights.ReadInto(dir, trained) // frozen weights may be packed or quantized
}

// checkSamplePrompts returns an error if the prompts need a tokenizer or chat template that the model lacks.
func (r *Run) checkSamplePrompts() error {
	if r.Tokenizer == nil {
		return fault.Fault{Path: "train.sample_prompts", Problem: fmt.Sprintf("model %s has no tokenizer.json", r.ModelDir)}
	}
	if len(r.Eval) == 0 {
		r.options.Warn(errors.New("train.sample_prompts are run at evaluations, but neither data.eval nor data.eval_fraction is set"))
	}
	for i, prompt := range r.Config.Train.SamplePrompts {
		if len(prompt.Messages) == 0 {
			continue
		}
		m := r.runningModel()
		f, err := m.ChatFormat()
		if err == nil {
			_, err = f.prompt(context.Background(), conversation(prompt.Messages))
		}
		if err != nil {
			return fault.Fault{Path: fmt.Sprintf("train.sample_prompts[%d]", i), Problem: err.Error()}
		}
	}
	return nil
}

// runningModel returns the model in its current state.
func (r *Run) runningModel() *Model {
	return &Model{Model: r.Model, Dir: r.ModelDir, Tokenizer: r.Tokenizer}
}

// sample continues or answers a prompt with the model in its current state.
func (r *Run) sample(ctx context.Context, prompt trainer.SamplePrompt) (string, error) {
	if r.Adapter != nil {
		r.Adapter.Invalidate() // training steps have changed it
	}
	m := r.runningModel()
	o := TextOptions{GenerateOptions: m.DefaultGenerate()}
	var ids []int
	var err error
	if len(prompt.Messages) > 0 {
		ids, o, err = m.chatSample(ctx, prompt.Messages, o)
	} else {
		ids, err = m.Encode(prompt.Text)
	}
	if err != nil {
		return "", err
	}
	texts, err := m.Continue(ctx, [][]int{ids}, o)
	if err != nil {
		return "", err
	}
	return texts[0].Text, nil
}

// chatSample returns the ids of a prompt for an answer, and the options that end the answer.
func (m *Model) chatSample(ctx context.Context, messages []trainer.Message, o TextOptions) ([]int, TextOptions, error) {
	f, err := m.ChatFormat()
	if err != nil {
		return nil, o, err
	}
	p, err := f.prompt(ctx, conversation(messages))
	return p.IDs, f.Options(o), err
}

// mark records that the trainer has inspected the output directory and is about to make its first step.
func (r *Run) mark(e trainer.Event) {
	if _, ok := e.(trainer.StartEvent); ok {
		r.started = true
	}
}

// writeLogs writes the journal, the samples, run.json, and the TensorBoard file. They are opened when the run starts or
// resumes, so those of a finished run are left unchanged.
func (r *Run) writeLogs(e trainer.Event) {
	_, resumed := e.(trainer.ResumeEvent)
	if _, started := e.(trainer.StartEvent); (started || resumed) && len(r.logs) == 0 {
		r.openLogs()
	}
	for _, log := range r.logs {
		log.Observe(e)
	}
}

func (r *Run) openLogs() {
	in := func(name string) string { return filepath.Join(r.Config.OutputDir, name) }
	r.logs = append(r.logs, trainer.NewJournal(checkpoint.Disk{}, in(checkpoint.JournalFile)),
		trainer.NewSampleLog(checkpoint.Disk{}, in(checkpoint.SamplesFile)), &facts{run: r})
	dir := r.Config.Train.LoggingDir
	if dir == "" {
		dir = filepath.Join(r.Config.OutputDir, checkpoint.LogsDir)
	}
	board, err := tensorboard.New(checkpoint.Disk{}, dir, time.Now)
	if err != nil {
		r.options.Warn(err)
		return
	}
	r.logs = append(r.logs, board)
}

// publish adds plots and the model card to the result.
func (r *Run) publish(dir string, st *checkpoint.State) error {
	h := History(r.Config.OutputDir, r.Config.Train.LoggingDir, st)
	if err := plot.WriteFiles(dir, h); err != nil {
		r.options.Warn(err)
	}
	return r.writeModelCard(dir, h.Name, st)
}
