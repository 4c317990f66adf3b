package recipe

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"mambatrain/data"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer"
)

// loadModel loads the base model, or creates one if the directory has a configuration but no weights.
func (r *Run) loadModel(ctx context.Context) (err error) {
	c := r.Config
	if r.ModelDir, err = modelDirectory(ctx, r.options.Hub, c.Model); err != nil {
		return err
	}
	if r.FromScratch = !hasWeights(r.ModelDir); r.FromScratch && (c.LoRA != nil || c.Adapter != "") {
		return fault.NotFound("model %s has no %s: an adapter needs a trained base model", r.ModelDir, weights.ModelFile)
	}
	if err := checkDistinct(c.OutputDir, c.Model, r.ModelDir, c.Adapter); err != nil {
		return err
	}
	sizes, err := mamba.LoadConfig(r.ModelDir)
	if err != nil {
		return err
	}
	if err := c.checkPrecision(sizes); err != nil {
		return err
	}
	if r.tokenizerPath, err = findNamedTokenizer(ctx, r.options.Hub, c.Tokenizer); err != nil {
		return err
	}
	if r.Tokenizer, err = openTokenizer(r.tokenizerPath, r.ModelDir); err != nil {
		return err
	}
	if err := r.openAdapter(ctx); err != nil {
		return err
	}
	rows, err := c.vocabularyFor(sizes, r.continued, r.Tokenizer)
	if err != nil {
		return err
	}
	if rows != sizes.VocabSize {
		r.resized, sizes.VocabSize = rows, rows
	}
	if err := checkConstantMemory(&c, sizes); err != nil {
		return err
	}
	if r.FromScratch {
		r.Model, err = NewModel(sizes, mamba.Init(c.Init), uint64(c.Seed), mamba.LoadOptions{})
		if err != nil {
			return err
		}
	} else if r.Model, err = mamba.Load(r.ModelDir, r.loadOptions()); err != nil {
		return err
	}
	r.Model.Checkpointing = c.GradientCheckpointing
	r.Model.LabelSmoothing = c.Train.LabelSmoothingFactor
	r.Model.NeftuneAlpha = c.Train.NeftuneNoiseAlpha
	if id, ok := r.endOfText(); ok {
		r.Model.EndTextsWith(id)
	}
	return nil
}

// endOfText returns the tokenizer's end-of-text id, with which the result of full training ends texts, as that of
// transformers' Trainer does. An adapter has no such settings.
func (r *Run) endOfText() (id int, ok bool) {
	if r.Tokenizer == nil || r.Config.LoRA != nil || r.Config.Adapter != "" {
		return 0, false
	}
	id, ok = r.Tokenizer.NamedEOS()
	return id, ok && id < r.Model.Config.VocabSize
}

// openAdapter opens the adapter to train further, if there is one.
func (r *Run) openAdapter(ctx context.Context) (err error) {
	if r.Config.Adapter != "" {
		r.continued, err = OpenAdapter(ctx, r.options.Hub, r.Config.Adapter)
	}
	return err
}

// checkDistinct returns a fault if the output directory is, or has as one of its checkpoints, the model or adapter that
// the run starts from: the result would replace it, and the run could not be resumed or repeated.
func checkDistinct(output string, inputs ...string) error {
	for _, input := range inputs {
		inside := strings.HasPrefix(filepath.Base(input), "checkpoint-") && atomicfile.Overwrites(output, filepath.Dir(input))
		if inside || atomicfile.Overwrites(output, input) {
			return fault.Fault{Path: "output_dir", Problem: "the run would replace " + input + ", which it starts from; choose another directory"}
		}
	}
	return nil
}

// loadOptions returns options that store the base only in the kernels' layout if nothing else needs it.
func (r *Run) loadOptions() mamba.LoadOptions {
	c := r.Config
	packed := c.LoRA != nil && c.Adapter == "" && leavesBaseAlone(*c.LoRA)
	return mamba.LoadOptions{Precision: mamba.Precision(c.Precision), Packed: packed, VocabSize: r.resized}
}

// adapt puts the adapter into the model, or selects the parameters for full training.
func (r *Run) adapt() (err error) {
	c := r.Config
	switch {
	case c.Adapter != "":
		return r.continueAdapter()
	case c.LoRA == nil:
		return invalid(trainer.SelectTrainable(r.Model.Params(), c.Train.Trainable))
	}
	if r.Adapter, err = NewAdapter(r.Model, *c.LoRA, uint64(c.Seed)); err != nil {
		return invalid(err)
	}
	return r.recordBase()
}

// recordBase records in the adapter which weights it is trained on, and warns if these are not the weights that a
// continued adapter was trained on before.
func (r *Run) recordBase() error {
	t, err := weights.Open(r.ModelDir)
	if err != nil {
		return err
	}
	defer t.Close()
	r.Adapter.VocabSize, r.Adapter.Blocks = r.resized, r.Model.Config.Blocks(mamba.Precision(r.Config.Precision))
	if r.Adapter.Base, err = lora.Fingerprint(t); err != nil || r.continued == nil {
		return err
	}
	if other := r.continued.CheckBase(r.Adapter.Base); other != nil && r.options.Comm.Rank() == 0 {
		r.options.Warn(other)
	}
	return nil
}

// continueAdapter loads an adapter to train it further. If there is also a lora section, the two must agree.
func (r *Run) continueAdapter() (err error) {
	c := r.Config
	for _, p := range r.Model.Params() {
		p.Freeze()
	}
	if r.Adapter, err = r.continued.Load(r.Model); err != nil {
		return err
	}
	if err := r.Adapter.Enable(); err != nil {
		return err
	}
	if c.LoRA != nil {
		var faults fault.List
		faults.Include("lora", c.LoRA.For(r.Model).Differences(r.Adapter.Config))
		if err := faults.Err(); err != nil {
			return err
		}
		r.Adapter.Config.LoraDropout, r.Adapter.Config.LoraPlusRatio = c.LoRA.LoraDropout, c.LoRA.LoraPlusRatio
	}
	if err := r.Adapter.Train(); err != nil {
		return err
	}
	return r.recordBase()
}

// dataConfig returns the data section with the run's hub client.
func (r *Run) dataConfig() data.Config {
	c := r.Config.Data.Config
	c.Hub = r.options.Hub
	if r.options.Comm.Rank() == 0 {
		c.Warn = r.options.Warn
	}
	return c
}

// warnOfClock warns if a chat template writes the date: on another day the rows differ, and the run cannot be resumed.
func (r *Run) warnOfClock() {
	d := r.dataConfig()
	if d.Messages == "" || d.Cache != "" || d.Warn == nil || r.Tokenizer == nil {
		return
	}
	if t, err := r.Tokenizer.ChatTemplate(); err == nil && t != nil && t.Mentions("strftime_now") {
		d.Warn(errors.New("data.messages: the chat template inserts the date, so a run resumed on another day has different rows; set data.cache to keep them"))
	}
}

// invalid returns err as a fault of the configuration, or nil if err is nil.
func invalid(err error) error {
	var l fault.List
	l.Include("", err)
	return l.Err()
}

// loadData opens the training data and the evaluation sets.
func (r *Run) loadData(ctx context.Context) error {
	c := r.Config
	all, err := r.dataset(ctx, c.Data.Train, r.dataConfig())
	if err != nil {
		return err
	}
	r.Data = all
	r.warnOfClock()
	evalConfig := r.dataConfig()
	evalConfig.Shuffle, evalConfig.MaxTrainSamples, evalConfig.CarryState = false, 0, false
	if c.Data.EvalFraction > 0 {
		train, eval, err := all.Split(c.Data.EvalFraction, uint64(c.Seed)+splitStream)
		if err != nil {
			return invalid(err)
		}
		r.datasets = []*data.Dataset{train, eval}
		r.Data = train
		if err := r.addEval("", eval); err != nil {
			return err
		}
	}
	for _, set := range c.Data.Eval {
		d, err := r.dataset(ctx, set.Sources, evalConfig)
		if err != nil {
			return err
		}
		if err := r.addEval(set.Name, d); err != nil {
			return err
		}
	}
	r.Loader, err = r.Data.Loader(c.Train.PerDeviceTrainBatchSize, uint64(c.Seed))
	return err
}

// dataset opens one dataset.
func (r *Run) dataset(ctx context.Context, in Sources, c data.Config) (*data.Dataset, error) {
	d, err := openData(ctx, in, r.Tokenizer, r.Model.Config.VocabSize, c)
	if err == nil {
		r.datasets = append(r.datasets, d)
	}
	return d, err
}

func (r *Run) addEval(name string, d *data.Dataset) error {
	l, err := d.Loader(r.Config.Train.PerDeviceEvalBatchSize, 0)
	if err != nil {
		return err
	}
	r.Eval = append(r.Eval, trainer.EvalSet{Name: name, Source: fromLoader(l), Fingerprint: d.Fingerprint()})
	return nil
}
