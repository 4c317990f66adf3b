package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/internal/pyjson"
	"mambatrain/trainer/checkpoint"
)

// EvalSet is a dataset to evaluate on. If there are several, each has a name, which appears in its metrics:
// eval_<name>_loss.
type EvalSet struct {
	Name        string
	Source      BatchSource // only epoch 0 is used
	Fingerprint string      // identifies the data when a run resumes; "" if unknown
}

// Key returns the name that a metric such as loss has in the history.
func (e EvalSet) Key(metric string) string {
	if e.Name == "" {
		return checkpoint.EvalPrefix + metric
	}
	return checkpoint.EvalPrefix + e.Name + "_" + metric
}

// ValidateEvaluation returns, as a [fault.List], the settings that require evaluations that datasets with these names
// do not provide. A single set is named "".
func (c Config) ValidateEvaluation(sets []string) error {
	var l fault.List
	if len(sets) == 0 {
		const missing = "requires evaluation data: set data.eval or data.eval_fraction"
		l.Require(!c.LoadBestModelAtEnd, "load_best_model_at_end", missing)
		l.Require(c.EarlyStoppingPatience <= 0, "early_stopping_patience", missing)
	} else if c.evaluationDecides() {
		metrics := evalMetrics(sets)
		l.Require(slices.Contains(metrics, c.metricOn(sets[0])), "metric_for_best_model", "must be one of %s, got %q", strings.Join(metrics, ", "), c.MetricForBestModel)
	}
	return l.Err()
}

// evaluationDecides reports whether evaluations affect the result of the run.
func (c Config) evaluationDecides() bool { return c.LoadBestModelAtEnd || c.EarlyStoppingPatience > 0 }

// evalMetrics returns the valid values of metric_for_best_model.
func evalMetrics(sets []string) []string {
	var keys []string
	for _, name := range sets {
		for _, m := range []string{"loss", "perplexity", "mean_token_accuracy"} {
			keys = append(keys, EvalSet{Name: name}.Key(m))
		}
	}
	return keys
}

func isEvalKey(k string) bool { return strings.HasPrefix(k, checkpoint.EvalPrefix) }

// metricOn returns metric_for_best_model with the eval_ prefix, which may be omitted as in transformers. If sets have
// names, eval_loss is the loss on the first set.
func (c Config) metricOn(firstSet string) string {
	name := c.MetricForBestModel
	if !isEvalKey(name) {
		name = checkpoint.EvalPrefix + name
	}
	if name == (EvalSet{}).Key("loss") {
		return EvalSet{Name: firstSet}.Key("loss")
	}
	return name
}

// metric returns the metric that determines the best model. There must be at least one evaluation set.
func (t *Trainer) metric() string { return t.config.metricOn(t.task.Eval[0].Name) }

// deciding returns the evaluation set that the metric belongs to.
func (t *Trainer) deciding() EvalSet {
	i := slices.IndexFunc(t.task.Eval, func(e EvalSet) bool { return slices.Contains(evalMetrics([]string{e.Name}), t.metric()) })
	return t.task.Eval[i] // [Config.ValidateEvaluation] has checked the metric
}

// better reports whether a is a better value of the metric than b: higher for accuracies, lower for losses and
// perplexities.
func (t *Trainer) better(a, b float64) bool {
	if strings.HasSuffix(t.metric(), "accuracy") {
		return a > b
	}
	return a < b
}

// Metrics contains the results of an evaluation over all counted labels of a set.
type Metrics struct {
	Loss       float64 // mean, in nats
	Perplexity float64
	Accuracy   float64 // fraction of labels that were the most probable token
	Tokens     int
}

// Evaluate runs a dataset forward. Losses are weighted by tokens, so the batch size does not matter. progress may be
// nil; it is called with the number of micro-batches done and the total.
func Evaluate(ctx context.Context, p Program, src BatchSource, rows int, progress func(done, total int)) (Metrics, error) {
	e := evaluation{program: p, source: src, rows: rows, comm: SingleProcess{}, progress: progress}
	sums, err := e.run(ctx)
	return sums.metrics(), err
}

// evaluation is an evaluation of one dataset.
type evaluation struct {
	program  Program
	source   BatchSource
	rows     int // computed at once
	comm     Communicator
	progress func(done, total int) // may be nil
	carried  carriedStates
}

// tally contains the sums of losses, counted labels, and correct predictions.
type tally struct{ loss, tokens, correct float64 }

func (s tally) metrics() Metrics {
	mean := s.loss / max(1, s.tokens)
	return Metrics{Loss: mean, Perplexity: math.Exp(mean), Accuracy: s.correct / max(1, s.tokens), Tokens: int(s.tokens)}
}

// run evaluates this rank's micro-batches and returns the sums over all ranks. Each micro-batch has its own slot, so
// the sums do not depend on the number of ranks.
func (e *evaluation) run(ctx context.Context) (tally, error) {
	n, err := e.source.Batches(0)
	if err != nil {
		return tally{}, fmt.Errorf("trainer: evaluation: %w", err)
	}
	loss, tokens, correct := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := e.comm.Rank(); i < n; i += e.comm.Size() {
		if err := ctx.Err(); err != nil {
			return tally{}, err
		}
		s, err := e.batch(ctx, i)
		if err != nil {
			return s, fmt.Errorf("trainer: evaluation: micro-batch %d: %w", i, err)
		}
		loss[i], tokens[i], correct[i] = s.loss, s.tokens, s.correct
		if e.progress != nil {
			e.progress(i+1, n)
		}
	}
	var s tally
	for _, sum := range []struct {
		to    *float64
		slots []float64
	}{{&s.loss, loss}, {&s.tokens, tokens}, {&s.correct, correct}} {
		if *sum.to, err = sumSlots(e.comm, sum.slots); err != nil {
			return s, err
		}
	}
	return s, nil
}

// batch evaluates micro-batch i.
func (e *evaluation) batch(ctx context.Context, i int) (s tally, err error) {
	b, err := e.source.Batch(ctx, 0, i)
	if err != nil {
		return s, err
	}
	parts, err := splitBatch(b, e.rows)
	if err != nil {
		return s, err
	}
	for _, part := range parts {
		err := e.carried.run(e.program, part, func() error {
			l, err := e.program.Eval(ctx, part.Batch)
			s.loss, s.tokens, s.correct = s.loss+l.Sum, s.tokens+float64(l.Tokens), s.correct+float64(l.Correct)
			return err
		})
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

var _ Program = (*ag.Program)(nil)

// evaluationDue reports whether to evaluate after the step just made: every eval_steps or at the end of each epoch, and
// after the last step.
func (t *Trainer) evaluationDue(r batchRange) bool {
	switch {
	case len(t.task.Eval) == 0:
		return false
	case t.state.GlobalStep == t.plan.steps:
		return true
	case t.config.EvalSteps == 0:
		return r.endsEpoch()
	}
	return t.state.GlobalStep%t.config.EvalSteps == 0
}

// evaluate evaluates all sets, updates the best model so far, and checks for early stopping. If ctx is canceled
// meanwhile, the evaluation remains due.
func (t *Trainer) evaluate(ctx context.Context) error {
	if t.comm.Size() > 1 {
		ctx = context.WithoutCancel(ctx) // one rank cannot stop without the others
	}
	t.progress.EvalDue = true
	row, err := t.measure(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	t.progress.EvalDue = false
	t.state.LogHistory = append(t.state.LogHistory, row)
	if value, ok := row[t.metric()]; ok {
		t.updateBest(value)
	}
	t.task.Observer(EvalEvent{Row: row, Best: t.bestNow})
	t.sample(ctx)
	return t.comm.Barrier() // only rank 0 generates samples
}

// measure evaluates every set and returns a history row.
func (t *Trainer) measure(ctx context.Context) (checkpoint.Row, error) {
	row := t.row()
	for _, set := range t.task.Eval {
		began := t.task.Now()
		e := evaluation{program: t.task.Program, source: set.Source, rows: t.partRows(), comm: t.comm, progress: func(done, total int) {
			t.task.Observer(EvalProgressEvent{Set: set.Name, Done: done, Total: total})
		}}
		sums, err := e.run(ctx)
		if err != nil {
			return nil, err
		}
		m, seconds := sums.metrics(), t.task.Now().Sub(began).Seconds()
		row[set.Key("loss")] = m.Loss
		row[set.Key("perplexity")] = m.Perplexity
		row[set.Key("mean_token_accuracy")] = m.Accuracy
		row[set.Key("num_tokens")] = float64(m.Tokens)
		row[set.Key("runtime")] = seconds
		row[set.Key("tokens_per_second")] = perSecond(m.Tokens, seconds)
	}
	return row, nil
}

// updateBest compares a new value of the metric with the best so far.
func (t *Trainer) updateBest(value float64) {
	p, st := t.progress, t.state
	t.bestNow = finite(value) && (st.BestMetric == nil || t.better(value, float64(*st.BestMetric)))
	if t.bestNow {
		step, best := st.GlobalStep, pyjson.Float(value)
		st.BestMetric, st.BestGlobalStep, st.BestModelCheckpoint = &best, &step, nil
		p.EvalsWithoutGain = 0
		return
	}
	p.EvalsWithoutGain++
	t.stopEarly()
}

// stopEarly ends the run if the metric has not improved for early_stopping_patience evaluations.
func (t *Trainer) stopEarly() {
	if t.stopReason != "" || t.config.EarlyStoppingPatience == 0 || t.progress.EvalsWithoutGain < t.config.EarlyStoppingPatience {
		return
	}
	t.stopReason = fmt.Sprintf("%s has not improved in %d evaluations", t.metric(), t.progress.EvalsWithoutGain)
	t.task.Observer(EarlyStopEvent{t.state.GlobalStep, t.stopReason})
}

// sample generates texts for the prompts. Failures are reported but not fatal.
func (t *Trainer) sample(ctx context.Context) {
	if t.task.Sample == nil || t.comm.Rank() != 0 {
		return
	}
	for _, prompt := range t.config.SamplePrompts {
		text, err := t.task.Sample(ctx, prompt)
		if ctx.Err() != nil {
			return
		}
		t.task.Observer(SampleEvent{Step: t.state.GlobalStep, Prompt: prompt.String(), Text: text, Err: err})
	}
}
