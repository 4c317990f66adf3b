package trainer_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// recipe is the learning rate of the example on the Hugging Face model page.
const recipe = 2e-3

// TestTrainingStaysFiniteWhereFloat64Does trains the small Mamba at 1, 3, and 10 times the learning rate of the model
// page's recipe on documents of up to 8,192 tokens, with adapters and with all weights. If it fails as a user trains it, it
// must also fail in float64 with the plain loops that document the kernels: wherever every loss and gradient of that run
// is finite, those of the user's must be, too. Softplus, the state, and every sum could overflow. Each cell of the grid
// uses one of three seeds, and long documents only the highest rate; TRAINER_TEST_STEPS=8 runs the whole grid with eight
// times the steps.
func TestTrainingStaysFiniteWhereFloat64Does(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("14 runs of long loops")
	}
	longer, err := strconv.Atoi(os.Getenv("TRAINER_TEST_STEPS"))
	all := err == nil
	for i, steps := range []int{8, 3, 2} {
		length := []int{64, 1024, 8192}[i]
		for j, times := range []float64{1, 3, 10} {
			for seed := range 3 {
				if !all && (seed != (i+j)%3 || length == 8192 && times < 10) {
					continue
				}
				c := cell{length, steps * max(1, longer), recipe * times, uint64(seed), seed == 2}
				t.Run(c.String(), func(t *testing.T) { c.compare(t) })
			}
		}
	}
}

// cell is a cell of the grid.
type cell struct {
	length, steps int
	rate          float64
	seed          uint64
	full          bool // all weights are trained instead of adapters
}

func (c cell) String() string {
	return fmt.Sprintf("%d tokens, rate %g, seed %d, full %t", c.length, c.rate, c.seed, c.full)
}

// compare trains as a user does. Only if that fails does it need the slow run in float64, which must fail as well.
func (c cell) compare(t *testing.T) {
	got, failed := c.floats()
	if failed != nil {
		want, err := c.doubles()
		if err != nil {
			t.Fatal(err)
		}
		if len(want) == c.steps {
			t.Errorf("finite in float64, but: %v", failed)
		} else {
			t.Logf("in float64 step %d is not finite", len(want)+1)
		}
	}
	// The first losses must agree, since rounding errors have not had time to grow.
	const tolerance = 1e-5
	want, err := c.firstLoss()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) > 0 && !(math.Abs(got[0]-want) <= tolerance*want) {
		t.Errorf("loss %v, in float64 %v", got[0], want)
	}
}

// firstLoss returns the loss of the first batch before any step, in float64.
func (c cell) firstLoss() (float64, error) {
	_, prog, batches, err := c.prepare(true)
	if err != nil {
		return 0, err
	}
	loss, err := prog.Eval(context.Background(), batches[0].Batch)
	return loss.Sum / float64(loss.Tokens), err
}

// floats runs the trainer and returns the loss of each step.
func (c cell) floats() (losses []float64, err error) {
	params, prog, batches, err := c.prepare(false)
	if err != nil {
		return nil, err
	}
	s := trainer.Default()
	s.LearningRate, s.LRSchedulerType, s.MaxSteps = c.rate, "constant", c.steps
	tr, err := trainer.New(s, trainer.Task{Params: params, Program: prog, Rows: c.length, Train: batches, Observer: func(e trainer.Event) {
		if s, ok := e.(trainer.StepEvent); ok {
			losses = append(losses, s.Loss)
		}
	}})
	if err == nil {
		_, err = tr.Run(context.Background())
	}
	return losses, err
}

// doubles does what the trainer does in float64, with the published rules of AdamW and clipping. It returns the losses
// of the steps before the first one that is not finite.
func (c cell) doubles() (losses []float64, err error) {
	params, prog, batches, err := c.prepare(true)
	if err != nil {
		return nil, err
	}
	params = slices.DeleteFunc(params, func(p *ag.Param) bool { return !p.Trainable() })
	s := trainer.Default()
	mean, square := make([][]float64, len(params)), make([][]float64, len(params))
	for step, b := range batches {
		for _, p := range params {
			p.ZeroGrad()
		}
		loss, err := prog.Step(context.Background(), ag.Step{Batch: b.Batch, Scale: 1 / float64(b.Counted())})
		if err != nil {
			return losses, err
		}
		norm := 0.0
		for _, p := range params {
			for _, g := range p.Grad.Float64s() {
				norm += g * g
			}
		}
		norm = math.Sqrt(norm)
		if bad := loss.Sum + norm; math.IsNaN(bad) || math.IsInf(bad, 0) {
			return losses, nil
		}
		losses = append(losses, loss.Sum/float64(loss.Tokens))
		clip := min(1, s.MaxGradNorm/(norm+1e-6))
		for i, p := range params {
			if step == 0 {
				mean[i], square[i] = make([]float64, p.Size()), make([]float64, p.Size())
			}
			w := p.Value.Float64s()
			for j, g := range p.Grad.Float64s() {
				g *= clip
				mean[i][j] += (1 - s.AdamBeta1) * (g - mean[i][j])
				square[i][j] += (1 - s.AdamBeta2) * (g*g - square[i][j])
				m := mean[i][j] / (1 - math.Pow(s.AdamBeta1, float64(step+1)))
				v := square[i][j] / (1 - math.Pow(s.AdamBeta2, float64(step+1)))
				w[j] -= c.rate * m / (math.Sqrt(v) + s.AdamEpsilon)
			}
		}
	}
	return losses, nil
}

// prepare loads the model, selects the trainable parameters, and draws one document of random tokens per step.
func (c cell) prepare(doubles bool) ([]*ag.Param, *ag.Program, fixed, error) {
	m, err := mamba.Load("../mamba/testdata/golden/base/model", mamba.LoadOptions{})
	if err != nil {
		return nil, nil, nil, err
	}
	r := rand.New(rand.NewPCG(c.seed, 1))
	params := m.Params()
	if c.full {
		err = trainer.SelectTrainable(params, nil)
	} else {
		var a *lora.Adapter
		if a, err = lora.Inject(m, lora.Default(), r); err == nil {
			params = append(params, a.Params()...)
		}
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if doubles {
		for _, p := range params {
			if err := widen(p); err != nil {
				return nil, nil, nil, err
			}
		}
	}
	batches := make(fixed, c.steps)
	for i := range batches {
		b := &batches[i]
		for range c.length {
			b.Tokens = append(b.Tokens, r.IntN(m.Config.VocabSize))
		}
		b.Labels, b.Starts = b.Tokens, []int{0}
	}
	g := ag.NewGraph(ag.Options{Rows: c.length, Float64: doubles})
	prog, err := g.Compile(m.Loss(g))
	return params, prog, batches, err
}

// widen converts a parameter to float64.
func widen(p *ag.Param) error {
	if p.Value.Dtype() == tensor.Float64 {
		return nil // already converted
	}
	trains := p.Trainable()
	p.Freeze()
	v := make([]float64, p.Size())
	for i, x := range p.Float32s() {
		v[i] = float64(x)
	}
	p.Value = tensor.New(tensor.WithShape(p.Shape()...), tensor.WithBacking(v))
	if !trains {
		return nil
	}
	return p.Train()
}
