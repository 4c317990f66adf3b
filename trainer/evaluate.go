package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/trainer/checkpoint"
)

// EvalSet is data to evaluate on. With several sets each has a name, which stands in its metrics: eval_<name>_loss.
type EvalSet struct {
	Name   string
	Source Source // its epoch 0 is used
}

// Key is the name of a metric such as loss in the history.
func (e EvalSet) Key(metric string) string {
	if e.Name == "" {
		return checkpoint.EvalPrefix + metric
	}
	return checkpoint.EvalPrefix + e.Name + "_" + metric
}

// ValidateEvaluation returns, as a [fault.List], what the settings need of evaluations that data sets of these names do
// not provide. A single set is named "".
func (c Config) ValidateEvaluation(sets []string) error {
	var l fault.List
	if len(sets) == 0 {
		const missing = "needs data to evaluate on: data.eval or data.eval_fraction"
		l.Require(!c.LoadBestModelAtEnd, "load_best_model_at_end", missing)
		l.Require(c.EarlyStoppingPatience <= 0, "early_stopping_patience", missing)
	} else if c.evaluationDecides() {
		metrics := evalMetrics(sets)
		l.Require(slices.Contains(metrics, c.metricOn(sets[0])), "metric_for_best_model", "must be one of %s, got %q", strings.Join(metrics, ", "), c.MetricForBestModel)
	}
	return l.Err()
}

// evaluationDecides reports whether the result of the run depends on evaluations.
func (c Config) evaluationDecides() bool { return c.LoadBestModelAtEnd || c.EarlyStoppingPatience > 0 }

// evalMetrics lists what metric_for_best_model may be.
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

// metricOn is metric_for_best_model with the prefix that transformers lets one leave out. Where sets have names, eval_loss
// is the loss on the first of them.
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

// metric is what decides which model is the best. There is something to evaluate on.
func (t *Trainer) metric() string { return t.metricOn(t.task.Eval[0].Name) }

// better says whether a is a better value of the metric than b: accuracies rise, losses and perplexities fall.
func (t *Trainer) better(a, b float64) bool {
	if strings.HasSuffix(t.metric(), "accuracy") {
		return a > b
	}
	return a < b
}

// Score is what an evaluation measured over all counted labels of a set.
type Score struct {
	Loss       float64 // mean, in nats
	Perplexity float64
	Accuracy   float64 // share of labels that were the most probable token
	Tokens     int
}

// Evaluate runs a data set forward. Losses are weighted by tokens, so that the batch size does not matter. progress,
// which may be nil, is told the number of micro-batches done and in all.
func Evaluate(ctx context.Context, p Program, src Source, rows int, progress func(done, total int)) (Score, error) {
	sums, err := evaluateShare(ctx, p, src, rows, Alone{}, progress)
	return sums.score(), err
}

// tally sums up losses, counted labels and hits.
type tally struct{ loss, tokens, correct float64 }

func (s tally) score() Score {
	mean := s.loss / max(1, s.tokens)
	return Score{Loss: mean, Perplexity: math.Exp(mean), Accuracy: s.correct / max(1, s.tokens), Tokens: int(s.tokens)}
}

// evaluateShare runs this rank's micro-batches and returns the sums of all ranks. Each micro-batch has a slot of its own
// in the sums, so that they do not depend on the number of ranks.
func evaluateShare(ctx context.Context, p Program, src Source, rows int, comm Communicator, progress func(done, total int)) (tally, error) {
	n, err := src.Batches(0)
	if err != nil {
		return tally{}, fmt.Errorf("trainer: evaluation: %w", err)
	}
	var carried states
	loss, tokens, correct := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := comm.Rank(); i < n; i += comm.Size() {
		if err := ctx.Err(); err != nil {
			return tally{}, err
		}
		var s tally
		if err := s.add(ctx, p, src, rows, i, &carried); err != nil {
			return s, fmt.Errorf("trainer: evaluation: micro-batch %d: %w", i, err)
		}
		loss[i], tokens[i], correct[i] = s.loss, s.tokens, s.correct
		if progress != nil {
			progress(i+1, n)
		}
	}
	var s tally
	for _, sum := range []struct {
		to    *float64
		slots []float64
	}{{&s.loss, loss}, {&s.tokens, tokens}, {&s.correct, correct}} {
		if *sum.to, err = sumSlots(comm, sum.slots); err != nil {
			return s, err
		}
	}
	return s, nil
}

// add evaluates micro-batch i.
func (s *tally) add(ctx context.Context, p Program, src Source, rows, i int, carried *states) error {
	b, err := src.Batch(ctx, 0, i)
	if err != nil {
		return err
	}
	parts, err := cut(b, rows)
	if err != nil {
		return err
	}
	for _, part := range parts {
		err := carried.through(p, part, func() error {
			l, err := p.Eval(ctx, part.Batch)
			s.loss, s.tokens, s.correct = s.loss+l.Sum, s.tokens+float64(l.Tokens), s.correct+float64(l.Correct)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var _ Program = (*ag.Program)(nil)

// evaluationDue says whether the step that has just been made is followed by an evaluation: every eval_steps or at each
// epoch's end, and after the last step.
func (t *Trainer) evaluationDue(p place) bool {
	switch {
	case len(t.task.Eval) == 0:
		return false
	case t.state.GlobalStep == t.plan.steps:
		return true
	case t.EvalSteps == 0:
		return p.ends()
	}
	return t.state.GlobalStep%t.EvalSteps == 0
}

// evaluate measures all sets and draws the consequences: the best model so far, and early stopping. If ctx ends meanwhile,
// the evaluation stays due.
func (t *Trainer) evaluate(ctx context.Context) error {
	if t.task.Comm.Size() > 1 {
		ctx = context.WithoutCancel(ctx) // one rank cannot leave the others
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
		t.judge(value)
	}
	t.task.Observer(Evaluated{Row: row, Best: t.best})
	t.sample(ctx)
	return nil
}

// measure evaluates on every set and returns the row of the history.
func (t *Trainer) measure(ctx context.Context) (checkpoint.Row, error) {
	row := t.row()
	for _, set := range t.task.Eval {
		began := t.task.Now()
		sums, err := evaluateShare(ctx, t.task.Program, set.Source, t.task.Rows, t.task.Comm, func(done, total int) {
			t.task.Observer(Evaluating{Set: set.Name, Done: done, Total: total})
		})
		if err != nil {
			return nil, err
		}
		score, seconds := sums.score(), t.task.Now().Sub(began).Seconds()
		row[set.Key("loss")] = score.Loss
		row[set.Key("perplexity")] = score.Perplexity
		row[set.Key("mean_token_accuracy")] = score.Accuracy
		row[set.Key("num_tokens")] = float64(score.Tokens)
		row[set.Key("runtime")] = seconds
		row[set.Key("tokens_per_second")] = perSecond(score.Tokens, seconds)
	}
	return row, nil
}

// judge compares a new value of the metric with the best one.
func (t *Trainer) judge(value float64) {
	p, st := t.progress, t.state
	t.best = finite(value) && (st.BestMetric == nil || t.better(value, *st.BestMetric))
	if t.best {
		step := st.GlobalStep
		st.BestMetric, st.BestGlobalStep, st.BestModelCheckpoint = &value, &step, nil
		p.EvalsWithoutGain = 0
		return
	}
	p.EvalsWithoutGain++
	t.stopEarly()
}

// stopEarly ends the run once the metric has not improved for early_stopping_patience evaluations.
func (t *Trainer) stopEarly() {
	if t.stop != "" || t.EarlyStoppingPatience == 0 || t.progress.EvalsWithoutGain < t.EarlyStoppingPatience {
		return
	}
	t.stop = fmt.Sprintf("%s has not improved in %d evaluations", t.metric(), t.progress.EvalsWithoutGain)
	t.task.Observer(Stopping{t.state.GlobalStep, t.stop})
}

// sample continues the prompts. A failure is reported, not fatal.
func (t *Trainer) sample(ctx context.Context) {
	if t.task.Sample == nil || t.task.Comm.Rank() != 0 {
		return
	}
	for _, prompt := range t.SamplePrompts {
		text, err := t.task.Sample(ctx, prompt)
		if ctx.Err() != nil {
			return
		}
		t.task.Observer(Sampled{Step: t.state.GlobalStep, Prompt: prompt, Text: text, Err: err})
	}
}
