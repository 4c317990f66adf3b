//go:build unix

package trainer_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/devicetest"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// A run on a device resumes bit for bit: the weights and the optimizer's state, which remain on the device, are saved
// and restored.
func TestDeviceResumesBitForBit(t *testing.T) {
	devicetest.Use(t)
	checkResumes(t, 1, 4)
}

// Runs on a device follow the peers' curves, and between steps neither weights nor gradients are copied.
func TestDeviceFollowsThePeer(t *testing.T) {
	for name, follow := range map[string]func(*testing.T, *mamba.Model, string, int){"full": followFull, "lora": followLoRA} {
		for _, segment := range segmentations {
			t.Run(name, func(t *testing.T) {
				d := devicetest.Use(t)
				follow(t, baseModel(t, ""), curvesOf(""), segment)
				if d.Dispatches == 0 {
					t.Error("nothing ran on the device")
				}
			})
		}
	}
}

// countedRun trains a model on a device for some steps and returns the number of elements copied in each.
func countedRun(t *testing.T, settings func(*trainer.Config)) (copied []int, err error) {
	t.Helper()
	d := devicetest.Use(t)
	m := baseModel(t, "")
	if err := trainer.SelectTrainable(m.Params(), nil); err != nil {
		t.Fatal(err)
	}
	batches := readCurve(t, "testdata/train/full").batches
	g := ag.NewGraph(ag.Options{Rows: len(batches[0].Tokens), Device: true})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	s := trainer.Default()
	s.MaxSteps = 4
	settings(&s)
	tr, err := trainer.New(s, trainer.Task{Params: m.Params(), Program: prog, Rows: len(batches[0].Tokens), Train: batches, Observer: func(e trainer.Event) {
		if _, ok := e.(trainer.StepEvent); ok {
			copied, d.Copied = append(copied, d.Copied), 0
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tr.Run(context.Background())
	return copied, err
}

func TestDeviceKeepsWeights(t *testing.T) {
	weights := 0
	for _, p := range baseModel(t, "").Params() {
		weights += p.Size()
	}
	adamw, err := countedRun(t, func(*trainer.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	sgd, err := countedRun(t, func(c *trainer.Config) { c.Optim = "sgd" })
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(adamw); i++ { // the host reads the gradients of the first step
		if adamw[i] >= weights || sgd[i] < 2*weights {
			t.Errorf("step %d copies %d elements, and %d with sgd, of a model with %d", i+1, adamw[i], sgd[i], weights)
		}
	}
}

// A value that is not finite is found and named on a device, and so is a norm that exceeds float32.
func TestDeviceFindsNonFinite(t *testing.T) {
	_, err := countedRun(t, func(c *trainer.Config) { c.LearningRate = 1e30; c.MaxGradNorm = 0 })
	var fault *trainer.NonFiniteError
	if !errors.As(err, &fault) || fault.Step < 2 || !strings.HasPrefix(fault.Tensor, "backbone.") && !strings.HasPrefix(fault.Tensor, "the gradient of ") {
		t.Errorf("got %v", err)
	}
}
