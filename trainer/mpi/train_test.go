package mpi_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/mpi"
)

// vocabulary and hidden make the embedding larger than one share, and the buckets numerous enough to overlap with the
// backward pass.
const (
	vocabulary = 1100
	hidden     = 128
)

// quotes is a source of ragged documents, the same on every rank.
type quotes struct{}

func (quotes) Batches(int) (int, error) { return 11, nil }

func (quotes) Batch(_ context.Context, epoch, i int) (trainer.MicroBatch, error) {
	r := rand.New(rand.NewPCG(uint64(epoch), uint64(i)))
	var b ag.Batch
	for range 1 + r.IntN(2) {
		b.Starts = append(b.Starts, len(b.Tokens))
		for range 2 + r.IntN(5) {
			b.Tokens = append(b.Tokens, r.IntN(vocabulary))
		}
	}
	b.Labels = b.Tokens
	return trainer.MicroBatch{Batch: b}, nil
}

// run is a training run on several ranks.
type run struct {
	lora     bool
	settings trainer.Config
	change   func(rank int, t *trainer.Task)
	stop     int // step after which rank 1 is asked to stop; 0 = none
}

func newRun() *run {
	r := &run{settings: trainer.Default(), change: func(int, *trainer.Task) {}}
	r.settings.MaxSteps, r.settings.SaveSteps, r.settings.LoggingSteps, r.settings.LearningRate = 4, 2, 1, 1e-2
	return r
}

// task builds one rank's own model.
func (r *run) task(t *testing.T) trainer.Task {
	c := mamba.Default()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.StateSize = vocabulary, hidden, 2, 4
	c.IntermediateSize, c.TimeStepRank = 2*hidden, 8
	m, err := mamba.New(c, mamba.InitMambaSSM, rand.New(rand.NewPCG(1, 2)), mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	params := m.Params()
	if r.lora {
		l := lora.Default()
		l.LoraDropout = 0.2
		a, err := lora.Inject(m, l, rand.New(rand.NewPCG(3, 4)))
		if err != nil {
			t.Fatal(err)
		}
		params = append(params, a.Params()...)
	} else if err := trainer.SelectTrainable(params, nil); err != nil {
		t.Fatal(err)
	}
	g := ag.NewGraph(ag.Options{Rows: 16})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	var trainable []*ag.Param
	for _, p := range params {
		if p.Trainable() {
			trainable = append(trainable, p)
		}
	}
	return trainer.Task{
		Params: params, Program: prog, Rows: 16, Train: quotes{}, Eval: []trainer.EvalSet{{Source: quotes{}}}, Seed: 7,
		Now: func() time.Time { return time.Time{} },
		Storage: trainer.Storage{
			Save: func(dir string) error { return save(dir, trainable) }, Load: func(dir string) error { return weights.ReadInto(dir, trainable) },
		},
	}
}

func save(dir string, params []*ag.Param) error {
	var list []weights.Entry
	for _, p := range params {
		list = append(list, weights.FromParam(p, weights.F32))
	}
	return weights.Save(filepath.Join(dir, weights.ModelFile), list, nil)
}

// on trains on the given number of ranks and returns the error of each.
func (r *run) on(t *testing.T, ranks int, dir string, mode checkpoint.Mode) []error {
	t.Helper()
	out, err := checkpoint.Open(checkpoint.Disk{}, dir, mode)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	comms := []trainer.Communicator{trainer.SingleProcess{}}
	if ranks > 1 {
		comms = nil
		for _, c := range mpi.InProcess(ranks, mpi.Default()) {
			comms = append(comms, c)
		}
	}
	errs := make([]error, ranks)
	var wg sync.WaitGroup
	for i, c := range comms {
		wg.Go(func() { errs[i] = r.rank(t, c, out) })
	}
	wg.Wait()
	return errs
}

func (r *run) rank(t *testing.T, c trainer.Communicator, out *checkpoint.Output) error {
	task := r.task(t)
	task.Ranks = trainer.Ranks{Comm: c, Shards: 4, BucketBytes: 1 << 18, Overlap: c.Size() == 2}
	if c.Rank() == 0 {
		task.Storage.Output = out
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	task.Observer = func(e trainer.Event) {
		if s, ok := e.(trainer.StepEvent); ok && s.Step == r.stop {
			cancel()
		}
	}
	r.change(c.Rank(), &task)
	tr, err := trainer.New(r.settings, task)
	if err != nil {
		return err
	}
	_, err = tr.Run(ctx)
	return errors.Join(err, c.Close())
}

// outcome returns the weights, losses, and evaluations of a finished run.
func outcome(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{weights.ModelFile, checkpoint.StateFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if !strings.Contains(line, `"ranks":`) && !strings.Contains(line, `"best_model_checkpoint":`) { // a path
				all.WriteString(line)
			}
		}
	}
	return all.String()
}

func mustAll(t *testing.T, what string, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%s: rank %d: %v", what, i, err)
		}
	}
}

func TestRanksMatchOneProcess(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(*run)
	}{
		{"full", func(r *run) {}},
		{"lora", func(r *run) { r.lora = true }},
		{"sharded optimizer", func(r *run) { r.change = func(_ int, t *trainer.Task) { t.Ranks.ShardOptimizer = true } }},
	} {
		alone := newRun()
		alone.lora = c.name == "lora"
		dir := t.TempDir()
		mustAll(t, c.name, alone.on(t, 1, dir, checkpoint.Fresh))
		want := outcome(t, dir)
		for _, ranks := range []int{2, 4} {
			r, dir := newRun(), t.TempDir()
			c.setup(r)
			what := fmt.Sprintf("%s, %d ranks", c.name, ranks)
			mustAll(t, what, r.on(t, ranks, dir, checkpoint.Fresh))
			if outcome(t, dir) != want {
				t.Errorf("%s: not the bits of one process", what)
			}
		}
	}
}

// A run resumes on a different number of ranks, with or without a divided optimizer, as if it had not stopped. Only
// rank 0 has access to the checkpoint.
func TestResumeOnDifferentNumberOfRanks(t *testing.T) {
	dir := t.TempDir()
	mustAll(t, "straight", newRun().on(t, 1, dir, checkpoint.Fresh))
	want := outcome(t, dir)
	divided := func(_ int, t *trainer.Task) { t.Ranks.ShardOptimizer = true }
	for _, c := range []struct {
		before, after         int
		changeThen, changeNow func(int, *trainer.Task)
	}{
		{2, 4, divided, divided},
		{4, 1, divided, newRun().change},
		{1, 2, newRun().change, divided},
	} {
		r, dir := newRun(), t.TempDir()
		r.change, r.stop = c.changeThen, 3
		for i, err := range r.on(t, c.before, dir, checkpoint.Fresh) {
			var stopped *trainer.StopError
			if !errors.As(err, &stopped) || stopped.Step != 3 || stopped.Err != nil {
				t.Fatalf("%d ranks: rank %d: got %v, want an interruption after step 3", c.before, i, err)
			}
		}
		r = newRun()
		r.change = c.changeNow
		mustAll(t, "resumed", r.on(t, c.after, dir, checkpoint.Resume))
		if outcome(t, dir) != want {
			t.Errorf("from %d to %d ranks: not the bits of the uninterrupted run", c.before, c.after)
		}
		mustAll(t, "finished", r.on(t, c.before, dir, checkpoint.Resume))
	}
}

func TestRanksMustAgree(t *testing.T) {
	for name, change := range map[string]func(*trainer.Task){
		"version": func(t *trainer.Task) { t.Ranks.Facts = map[string]string{"version": "2"} },
		"data":    func(t *trainer.Task) { t.Identity = map[string]string{"data": "other"} },
		"weights": func(t *trainer.Task) { t.Params[3].Float32s()[0]++ },
		"seed":    func(t *trainer.Task) { t.Seed++ },
	} {
		r := newRun()
		r.change = func(rank int, t *trainer.Task) {
			t.Ranks.Facts, t.Identity = map[string]string{"version": "1"}, map[string]string{"data": "same"}
			if rank == 2 {
				change(t)
			}
		}
		for i, err := range r.on(t, 4, t.TempDir(), checkpoint.Fresh) {
			var disagree *trainer.RanksError
			if !errors.As(err, &disagree) || !strings.Contains(err.Error(), "rank 2") || !strings.Contains(err.Error(), name+": rank 0") {
				t.Errorf("%s: rank %d: got %v, want the error of rank 2", name, i, err)
			}
		}
	}
}

func TestShardsMustFitRanks(t *testing.T) {
	for _, c := range []struct{ shards, ranks int }{{2, 4}, {4, 3}, {6, 2}} {
		r := newRun()
		r.change = func(_ int, t *trainer.Task) { t.Ranks.Shards = c.shards }
		for i, err := range r.on(t, c.ranks, t.TempDir(), checkpoint.Fresh) {
			var refused *trainer.RanksError
			if !errors.As(err, &refused) {
				t.Errorf("%d shards, %d ranks: rank %d: got %v", c.shards, c.ranks, i, err)
			}
		}
	}
}

// infiniteLoss makes the loss of one micro-batch infinite.
type infiniteLoss struct {
	trainer.Program
	at []int // tokens of that micro-batch
}

func (p infiniteLoss) Step(ctx context.Context, s ag.Step) (ag.Loss, error) {
	l, err := p.Program.Step(ctx, s)
	if slices.Equal(s.Tokens, p.at) {
		l.Sum = math.Inf(1)
	}
	return l, err
}

// The same fault is reported whichever rank computed the micro-batch.
func TestNonFiniteReportIsSameOnAllRanks(t *testing.T) {
	const micro = 6 // in the second step, on the second rank
	b, _ := quotes{}.Batch(context.Background(), 0, micro)
	r := newRun()
	r.change = func(_ int, t *trainer.Task) { t.Program = infiniteLoss{t.Program, b.Tokens} }
	for i, err := range r.on(t, 2, t.TempDir(), checkpoint.Fresh) {
		var fault *trainer.NonFiniteError
		if !errors.As(err, &fault) || fault.Step != 2 || fault.Batch != micro || !math.IsInf(fault.Loss, 1) {
			t.Errorf("rank %d: got %v, want micro-batch %d of step 2", i, err, micro)
		}
	}
}
