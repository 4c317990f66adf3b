package trainer_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// loraRun is a 6-step LoRA run on the small Mamba with dropout, noise on embeddings, label smoothing, and checkpointed
// layers.
type loraRun struct {
	settings trainer.Config
	task     trainer.Task
}

func newLoRARun(t *testing.T) *loraRun {
	t.Helper()
	m, err := mamba.Load("../mamba/testdata/golden/base/model", mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.LabelSmoothing, m.Checkpointing, m.NeftuneAlpha = 0.1, true, 5
	c := lora.Default()
	c.LoraDropout = 0.2
	a, err := lora.Inject(m, c, rand.New(rand.NewPCG(3, 4)))
	if err != nil {
		t.Fatal(err)
	}
	batches := readCurve(t, "testdata/train/lora").batches
	g := ag.NewGraph(ag.Options{Rows: len(batches[0].Tokens), Device: kernel.CurrentDevice() != nil})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	r := &loraRun{settings: trainer.Default()}
	r.settings.GradientAccumulationSteps, r.settings.MaxSteps, r.settings.LearningRate = 2, 6, 1e-2
	r.settings.SaveSteps, r.settings.LoggingSteps = 2, 1
	params := a.Params()
	r.task = trainer.Task{
		Params: params, Program: prog, Rows: len(batches[0].Tokens), Train: batches, Seed: 7,
		Now: func() time.Time { return time.Time{} },
		Storage: trainer.Storage{
			Save: func(dir string) error {
				var list []weights.Entry
				for _, p := range params {
					list = append(list, weights.FromParam(p, weights.F32))
				}
				return weights.Save(filepath.Join(dir, weights.ModelFile), list, nil)
			},
			Load: func(dir string) error { return weights.ReadInto(dir, params) },
		},
	}
	return r
}

// run trains in dir and stops after the given step unless it is 0.
func (r *loraRun) run(t *testing.T, dir string, mode checkpoint.Mode, stop int) {
	t.Helper()
	out, err := checkpoint.Open(checkpoint.Disk{}, dir, mode)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.task.Storage.Output = out
	r.task.Observer = func(e trainer.Event) {
		if s, ok := e.(trainer.StepEvent); ok && s.Step == stop {
			cancel()
		}
	}
	tr, err := trainer.New(r.settings, r.task)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Run(ctx); err != nil && !(stop > 0 && errors.Is(err, context.Canceled)) {
		t.Fatal(err)
	}
}

// outcome returns the bytes of the weights and state.
func outcome(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	for _, name := range []string{weights.ModelFile, checkpoint.StateFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// checkResumes checks that a run that stops after each of the steps and resumes has the result of the uninterrupted run.
func checkResumes(t *testing.T, stops ...int) {
	t.Helper()
	straight := t.TempDir()
	newLoRARun(t).run(t, straight, checkpoint.Fresh, 0)
	for _, stop := range stops {
		dir := t.TempDir()
		newLoRARun(t).run(t, dir, checkpoint.Fresh, stop)
		newLoRARun(t).run(t, dir, checkpoint.Resume, 0)
		if !bytes.Equal(outcome(t, dir), outcome(t, straight)) {
			t.Errorf("stopped after step %d: not the result of the uninterrupted run", stop)
		}
	}
}

// TestMambaResumesBitForBit also changes the number of threads when resuming.
func TestMambaResumesBitForBit(t *testing.T) {
	defer kernel.SetThreads(0)
	straight := t.TempDir()
	kernel.SetThreads(1)
	newLoRARun(t).run(t, straight, checkpoint.Fresh, 0)
	want := outcome(t, straight)
	for stop := 1; stop <= 5; stop += 2 {
		dir := t.TempDir()
		kernel.SetThreads(2)
		newLoRARun(t).run(t, dir, checkpoint.Fresh, stop)
		kernel.SetThreads(1 + stop%3)
		newLoRARun(t).run(t, dir, checkpoint.Resume, 0)
		if !bytes.Equal(outcome(t, dir), want) {
			t.Errorf("stopped after step %d: not the result of the uninterrupted run on one thread", stop)
		}
	}
}
