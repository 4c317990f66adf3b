//go:build unix

package recipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/autograd/devicetest"
	"mambatrain/autograd/kernel"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/recipe"
)

// deviceConfig is a short run on the quick start's base model.
func deviceConfig(t *testing.T, change func(*recipe.Config)) recipe.Config {
	t.Helper()
	rows := filepath.Join(t.TempDir(), "rows.txt")
	if err := os.WriteFile(rows, []byte("A friend is a second sky.\nTo be is to do.\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	c := recipe.Default()
	c.Model, c.OutputDir = "../../configs/quickstart/base", filepath.Join(t.TempDir(), "out")
	c.Data.Train = recipe.Sources{{Path: rows}}
	c.Data.Eval = recipe.EvalSets{{Sources: c.Data.Train}}
	c.Train.MaxSteps, c.Train.EvalSteps, c.Train.LearningRate = 3, 2, 1e-2
	change(&c)
	return c
}

// deviceRun runs deviceConfig and returns the losses of steps and evaluations.
func deviceRun(t *testing.T, change func(*recipe.Config), warn func(error)) (losses []float64, dir string) {
	t.Helper()
	c := deviceConfig(t, change)
	_, err := recipe.Train(context.Background(), c, recipe.Options{Warn: warn, Observer: func(e trainer.Event) {
		switch e := e.(type) {
		case trainer.StepEvent:
			losses = append(losses, e.Loss)
		case trainer.EvalEvent:
			losses = append(losses, e.Row["eval_loss"], e.Row["eval_mean_token_accuracy"])
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return losses, c.OutputDir
}

func noWarning(t *testing.T) func(error) {
	return func(err error) { t.Errorf("warning: %v", err) }
}

// Runs on a device have the same curves as on the CPU, and their records name the device.
func TestTrainOnDevice(t *testing.T) {
	for name, change := range map[string]func(*recipe.Config){
		"lora":     func(c *recipe.Config) { c.LoRA = recipe.DefaultLoRA(); c.LoRA.LoraDropout = 0.1 },
		"full":     func(c *recipe.Config) { c.GradientCheckpointing = true },
		"segments": func(c *recipe.Config) { c.LoRA = recipe.DefaultLoRA(); c.Train.SegmentTokens = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			want, _ := deviceRun(t, change, noWarning(t))
			d := devicetest.Use(t)
			got, dir := deviceRun(t, func(c *recipe.Config) { change(c); c.Device = recipe.DeviceVulkan }, noWarning(t))
			if d.Dispatches == 0 || len(got) != len(want) {
				t.Fatalf("%d dispatches, %d losses, want %d", d.Dispatches, len(got), len(want))
			}
			for i, w := range want {
				const tolerance = 1e-4 // for float32 sums in a different order, over three steps
				if math.Abs(got[i]-w) > tolerance*(1+w) {
					t.Errorf("losses are %v, want %v", got, want)
				}
			}
			var facts recipe.Facts
			b, err := os.ReadFile(filepath.Join(dir, recipe.FactsFile))
			if err == nil {
				err = json.Unmarshal(b, &facts)
			}
			state, err2 := os.ReadFile(filepath.Join(dir, "trainer_state.json"))
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			if facts.Device != d.Name() || !strings.Contains(string(state), fmt.Sprintf(`"kernels": %q`, d.Name())) {
				t.Errorf("run.json has device %q, want %q, trainer_state.json: %s", facts.Device, d.Name(), state)
			}
		})
	}
}

// If a device cannot run the model, the CPU does, with one warning. The same goes for auto without a device.
func TestDeviceFallsBack(t *testing.T) {
	d := devicetest.Use(t)
	d.Refuses = func(s kernel.DeviceSizes) error {
		if s.ScanStates > 0 {
			return errors.New("no scan")
		}
		return nil
	}
	var warnings []string
	deviceRun(t, func(c *recipe.Config) { c.Device = recipe.DeviceAuto }, func(err error) { warnings = append(warnings, err.Error()) })
	if len(warnings) != 1 || !strings.Contains(warnings[0], "using the CPU: test device: selective_scan") || d.Dispatches > 0 {
		t.Errorf("%d dispatches, warnings %q", d.Dispatches, warnings)
	}
	kernel.UseDevice(nil)
	deviceRun(t, func(c *recipe.Config) { c.Device = recipe.DeviceAuto }, noWarning(t))
}

// AdamW updates the weights on the device. For each of the other optimizers, and for several shards, the host does, with
// one warning, and the run has the same losses as on the CPU.
func TestDeviceOptimizers(t *testing.T) {
	for _, c := range []struct {
		optim   string
		shards  int
		warning string
	}{
		{"adamw", 1, ""},
		{"sgd", 1, "sgd runs only there"},
		{"lion", 1, "lion runs only there"},
		{"adafactor", 1, "adafactor runs only there"},
		{"adamw", 2, "the gradients of several shards are added there"},
	} {
		t.Run(fmt.Sprint(c.optim, c.shards), func(t *testing.T) {
			change := func(d *recipe.Config) {
				d.Train.Optim, d.Train.LearningRate = c.optim, 1e-3
				d.Train.PerDeviceTrainBatchSize = 1
				d.Distributed = recipe.DefaultDistributed()
				d.Distributed.Shards = c.shards
			}
			want, _ := deviceRun(t, change, noWarning(t))
			devicetest.Use(t)
			var warnings []string
			got, _ := deviceRun(t, func(d *recipe.Config) { change(d); d.Device = recipe.DeviceVulkan }, func(err error) { warnings = append(warnings, err.Error()) })
			if len(warnings) > 1 || (len(warnings) > 0) != (c.warning != "") || !strings.HasSuffix(strings.Join(warnings, ""), c.warning) {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
			for i, w := range want {
				const tolerance = 1e-4 // for float32 sums in a different order, over three steps
				if math.Abs(got[i]-w) > tolerance*(1+w) {
					t.Fatalf("losses are %v, want %v", got, want)
				}
			}
		})
	}
}

// A device that is lost, is reset by a watchdog, or runs out of memory during a run ends it with an error of one line.
// The run then resumes on a new device, with the bits of a run without the failure.
func TestDeviceFailureResumes(t *testing.T) {
	train := func(c recipe.Config, o recipe.Options, fails error) (last float64, err error) {
		d := devicetest.Use(t)
		o.Observer = func(e trainer.Event) {
			if e, ok := e.(trainer.StepEvent); ok {
				last = e.Loss
				if e.Step == 2 {
					d.Fails = fails
				}
			}
		}
		_, err = recipe.Train(context.Background(), c, o)
		return last, err
	}
	config := func() recipe.Config {
		return deviceConfig(t, func(c *recipe.Config) { c.Device, c.Train.MaxSteps, c.Train.SaveSteps = recipe.DeviceVulkan, 4, 1 })
	}
	want, err := train(config(), recipe.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for fails, advice := range map[error]string{kernel.ErrDeviceLost: "", kernel.ErrDeviceMemory: "device: cpu"} {
		c := config()
		_, err := train(c, recipe.Options{}, fmt.Errorf("vulkan: a GPU: submit: %w", fails))
		if !errors.Is(err, fails) || strings.Contains(err.Error(), "\n") || !strings.HasSuffix(err.Error(), advice) || strings.Count(err.Error(), "a GPU") != 1 {
			t.Errorf("the run ends with %v", err)
		}
		if got, err := train(c, recipe.Options{Mode: checkpoint.Resume}, nil); err != nil || got != want {
			t.Errorf("after %v the last loss is %v, want %v; error %v", fails, got, want, err)
		}
	}
}

// The memory estimate of a run on a device includes the scratch memory of the device's kernels.
func TestEstimateOnDevice(t *testing.T) {
	sizes, err := mamba.LoadConfig("../../configs/quickstart/base")
	if err != nil {
		t.Fatal(err)
	}
	d := devicetest.Use(t)
	estimate := func(device string, scratch int) int64 {
		d.Needs = func(kernel.DeviceSizes) int { return scratch }
		c := deviceConfig(t, func(c *recipe.Config) { c.Device = device })
		e, err := c.Estimate(sizes)
		if err != nil {
			t.Fatal(err)
		}
		return e.Memory.Activations
	}
	const scratch = 1 << 20
	cpu, none, some := estimate(recipe.DeviceCPU, scratch), estimate(recipe.DeviceVulkan, 0), estimate(recipe.DeviceVulkan, scratch)
	if none < cpu || some != none+4*scratch {
		t.Errorf("activations take %d bytes on the CPU, %d on a device, %d with scratch memory", cpu, none, some)
	}
}

// A device feeds prompts. If it cannot run the model, the CPU does, with one warning.
func TestDeviceFeedsPrompts(t *testing.T) {
	load := func() *recipe.Model {
		m, err := recipe.LoadModel(context.Background(), "../../configs/quickstart/base", "", recipe.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if f := recipe.DeviceFeeder(load().Model, noWarning(t)); f != nil {
		t.Errorf("without a device there is a %T", f)
	}
	d, m := devicetest.Use(t), load()
	o := recipe.TextOptions{GenerateOptions: m.DefaultGenerate()}
	prompt := m.Tokenizer.Encode("A friend is a second")
	want, err := m.Continue(context.Background(), [][]int{prompt}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Prefill = recipe.DeviceFeeder(m.Model, noWarning(t))
	got, err := m.Continue(context.Background(), [][]int{prompt}, o)
	if err != nil {
		t.Fatal(err)
	}
	if d.Dispatches == 0 || got[0].Text != want[0].Text {
		t.Errorf("%d dispatches, got %q, want %q", d.Dispatches, got[0].Text, want[0].Text)
	}
	d.Refuses = func(kernel.DeviceSizes) error { return errors.New("no scan") }
	var warnings []string
	f := recipe.DeviceFeeder(load().Model, func(err error) { warnings = append(warnings, err.Error()) })
	if f != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "prompts run on the CPU: autograd: test device: ") {
		t.Errorf("a device that refuses: %T, warnings %q", f, warnings)
	}
}

// A requested device that is not open is an error, and the error for a device without enough memory suggests what to
// change.
func TestDeviceRefusals(t *testing.T) {
	train := func() error {
		c := recipe.Default()
		c.Model, c.OutputDir, c.Device = "../../configs/quickstart/base", filepath.Join(t.TempDir(), "out"), "arc"
		c.Data.Train = recipe.Sources{{Path: "../../configs/quickstart/quotes.parquet"}}
		c.Data.DatasetTextField, c.Data.MaxTrainSamples = "quote", 4
		_, err := recipe.Train(context.Background(), c, recipe.Options{})
		return err
	}
	if err := train(); err == nil || !strings.Contains(err.Error(), `device: "arc" was requested`) {
		t.Errorf("not open: got %v", err)
	}
	devicetest.Use(t).SetLimit(1000)
	if err := train(); !errors.Is(err, kernel.ErrDeviceMemory) || !strings.Contains(err.Error(), "device: cpu") {
		t.Errorf("no room: got %v", err)
	}
}

// Evaluating on a device gives each row the same loss as on the CPU, including documents longer than it computes at
// once.
func TestEvaluateOnDevice(t *testing.T) {
	set := recipe.TestSet{Sources: recipe.Sources{{Path: "../../configs/quickstart/quotes.parquet"}}, Data: recipe.Default().Data.Config}
	set.Data.DatasetTextField, set.Data.MaxTrainSamples = "quote", 30
	evaluate := func() recipe.Evaluation {
		m, err := recipe.LoadModel(context.Background(), "../../configs/quickstart/base", "", recipe.LoadOptions{Warn: noWarning(t)})
		if err != nil {
			t.Fatal(err)
		}
		e, err := m.Evaluate(context.Background(), set)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	want := evaluate()
	d := devicetest.Use(t)
	got := evaluate()
	if d.Dispatches == 0 || got.Tokens != want.Tokens || got.Correct != want.Correct || len(got.Rows) != len(want.Rows) {
		t.Fatalf("%d dispatches, %d of %d labels right in %d rows, want %d of %d in %d", d.Dispatches, got.Correct, got.Tokens, len(got.Rows), want.Correct, want.Tokens, len(want.Rows))
	}
	for i, w := range want.Rows {
		const tolerance = 1e-5 // for float32 sums in a different order
		if g := got.Rows[i]; g.Tokens != w.Tokens || math.Abs(g.NLL-w.NLL) > tolerance*w.NLL {
			t.Errorf("row %d: %v over %d labels, want %v over %d", i, g.NLL, g.Tokens, w.NLL, w.Tokens)
		}
	}
}
