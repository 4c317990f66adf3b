//go:build unix

package trainer_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/devicetest"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/optim"
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

// deviceModel returns a model whose parameters are all trainable, its program, and the batches of the peer's run.
func deviceModel(t *testing.T, device bool) (trainer.Task, *ag.Program) {
	t.Helper()
	m := baseModel(t, "")
	if err := trainer.SelectTrainable(m.Params(), nil); err != nil {
		t.Fatal(err)
	}
	batches := readCurve(t, "testdata/train/full").batches
	g := ag.NewGraph(ag.Options{Rows: len(batches[0].Tokens), Device: device})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	return trainer.Task{Params: m.Params(), Program: prog, Rows: len(batches[0].Tokens), Train: batches}, prog
}

// countedRun trains a model on a device for some steps and returns the number of elements copied in each.
func countedRun(t *testing.T, settings func(*trainer.Config)) (copied []int, err error) {
	t.Helper()
	d := devicetest.Use(t)
	task, _ := deviceModel(t, true)
	s := trainer.Default()
	s.MaxSteps = 4
	settings(&s)
	task.Observer = func(e trainer.Event) {
		if _, ok := e.(trainer.StepEvent); ok {
			copied, d.Copied = append(copied, d.Copied), 0
		}
	}
	tr, err := trainer.New(s, task)
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

// After a run on a device, whether it finished or was stopped, the host has the weights, and another optimizer continues
// from them.
func TestDeviceReturnsWeights(t *testing.T) {
	for _, stopAfter := range []int{2, 1} {
		losses := func(device bool) (list []float64) {
			task, _ := deviceModel(t, device)
			for _, name := range []string{"adamw", "sgd", "adamw"} {
				s := trainer.Default()
				s.Optim, s.MaxSteps, s.LearningRate = name, 2, 1e-2
				ctx, stop := context.WithCancel(context.Background())
				steps := 0
				task.Observer = func(e trainer.Event) {
					if e, ok := e.(trainer.StepEvent); ok {
						list = append(list, e.Loss)
						if steps++; steps == stopAfter {
							stop()
						}
					}
				}
				tr, err := trainer.New(s, task)
				if err != nil {
					t.Fatal(err)
				}
				var stopped *trainer.StopError
				if _, err := tr.Run(ctx); err != nil && !errors.As(err, &stopped) {
					t.Fatal(err)
				}
			}
			return list
		}
		want := losses(false)
		devicetest.Use(t)
		got := losses(true)
		for i, w := range want {
			const tolerance = 1e-4 // for float32 sums in a different order, over six steps
			if math.Abs(got[i]-w) > tolerance*w {
				t.Fatalf("stopping after %d steps, losses are %v, want %v", stopAfter, got, want)
			}
		}
	}
}

// A parameter is updated either on the device or on the host: an optimizer of the other kind, or a second run that holds
// it, gets an error and changes nothing.
func TestDeviceExcludesHostOptimizer(t *testing.T) {
	devicetest.Use(t)
	task, prog := deviceModel(t, true)
	c := trainer.Default().Config
	groups := optim.Groups(task.Params, c, 1)
	resident, err := prog.Resident()
	if err != nil {
		t.Fatal(err)
	}
	host, err := optim.New(c, groups)
	if err != nil {
		t.Fatal(err)
	}
	onDevice, err := optim.NewResident(c, groups, resident)
	if err != nil {
		t.Fatal(err)
	}
	second, err := prog.Resident()
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", what, err, want)
		}
	}
	check("before Send", onDevice.Step(0.1, 1), "send them to test device")
	if err := resident.Send(); err != nil {
		t.Fatal(err)
	}
	check("on the host", host.Step(0.1, 1), "are on test device; release them")
	check("second Send", second.Send(), "already remains on test device")
	if err := errors.Join(onDevice.Step(0.1, 1), resident.Release(), host.Step(0.1, 1), second.Send()); err != nil {
		t.Error(err)
	}
	check("after another Send", onDevice.Step(0.1, 1), "release them")
	if host.Steps() != 1 || onDevice.Steps() != 1 {
		t.Errorf("%d and %d steps were counted, want 1 each", host.Steps(), onDevice.Steps())
	}
	c.Optim = "sgd"
	_, err = optim.NewResident(c, groups, resident)
	check("sgd", err, "sgd does not update parameters on a device")
}

// severalRanks is a communicator that reports two ranks.
type severalRanks struct{ trainer.SingleProcess }

func (severalRanks) Size() int { return 2 }

// With several ranks, whose gradients are added on the host, the host updates the weights.
func TestDeviceRanksUpdateOnHost(t *testing.T) {
	devicetest.Use(t)
	task, _ := deviceModel(t, true)
	for comm, want := range map[trainer.Communicator]string{trainer.SingleProcess{}: "", severalRanks{}: "the gradients of several ranks are added there"} {
		task.Ranks.Comm = comm
		tr, err := trainer.New(trainer.Default(), task)
		if err != nil {
			t.Fatal(err)
		}
		if got := tr.UpdatesOnHost(); got != want {
			t.Errorf("%d ranks: %q, want %q", comm.Size(), got, want)
		}
	}
}
