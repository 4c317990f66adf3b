package recipe_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/vulkan/vulkantest"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

// stepKind is a kind of training step.
type stepKind struct {
	name       string
	adapter    *lora.Config // nil: full training
	checkpoint bool
	bf16       bool
	options    ag.Options
}

func stepKinds() []stepKind {
	plain := lora.Default()
	dora := lora.Default()
	dora.UseDora, dora.LoraDropout = true, 0.1
	whole, segments := ag.Options{Rows: 90}, ag.Options{Rows: 33, Segments: true}
	return []stepKind{
		{name: "lora", adapter: &plain, options: whole},
		{name: "dora", adapter: &dora, options: whole},
		{name: "lora bf16", adapter: &plain, bf16: true, options: whole},
		{name: "lora segments", adapter: &plain, options: segments},
		{name: "full", options: whole},
		{name: "full checkpointed", checkpoint: true, options: whole},
		{name: "full segments", options: segments},
	}
}

// program loads a model and compiles its training program.
func (k stepKind) program(t *testing.T, dir string, device bool) (*ag.Program, []*ag.Param) {
	t.Helper()
	o := mamba.LoadOptions{}
	if k.bf16 {
		o.Precision = mamba.BF16
	}
	m, err := mamba.Load(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	m.Checkpointing = k.checkpoint
	params := m.Params()
	if k.adapter != nil {
		a, err := recipe.NewAdapter(m, *k.adapter, 1)
		if err != nil {
			t.Fatal(err)
		}
		params = a.Params()
		for _, p := range params { // B starts at zero, which would hide A
			r := rand.New(rand.NewPCG(3, uint64(p.Size())))
			for i := range p.Float32s() {
				p.Float32s()[i] += 0.05 * float32(r.NormFloat64())
			}
		}
	} else if err := trainer.SelectTrainable(params, nil); err != nil {
		t.Fatal(err)
	}
	options := k.options
	options.Device = device
	g := ag.NewGraph(options)
	p, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	return p, slices.DeleteFunc(slices.Clone(params), func(p *ag.Param) bool { return !p.Trainable() })
}

// deviceTolerance is the maximum difference between a gradient and the CPU's, relative to its largest element: it
// allows for float32 sums of several hundred terms in a different order, through two layers. With bfloat16 weights, the
// CPU may round activations too.
const deviceTolerance, deviceToleranceBF16 = 2e-5, 0.03

// Steps on a Vulkan device have the same loss and gradients as on the CPU, for every family, packed documents, and both
// kinds of memory. A second step has the same bits as the first.
func TestVulkanSteps(t *testing.T) {
	for _, staged := range []bool{false, true} {
		for _, model := range []string{"base", "falcon", "mamba2"} {
			for _, k := range stepKinds() {
				if staged && k.name != "lora" && k.name != "full segments" {
					continue // only the kind of memory differs
				}
				t.Run(fmt.Sprintf("%s/%s/staged=%v", model, k.name, staged), func(t *testing.T) {
					dir := "../../mamba/testdata/golden/" + model + "/model"
					o := vulkantest.Options()
					o.Staged = staged
					vulkantest.Use(t, o)
					host, want := k.program(t, dir, false)
					device, got := k.program(t, dir, true)
					b := randomBatch(t, dir, 41, 1, 30, 18)
					compareSteps(t, k, stepOf(t, device, b), stepOf(t, host, b), got, want)
					first := gradients(got)
					for _, p := range got {
						p.ZeroGrad()
					}
					stepOf(t, device, b)
					if !slices.Equal(first, gradients(got)) {
						t.Error("a second step has different bits")
					}
				})
			}
		}
	}
}

func compareSteps(t *testing.T, k stepKind, a, b ag.Loss, got, want []*ag.Param) {
	t.Helper()
	tolerance := deviceTolerance
	if k.bf16 {
		tolerance = deviceToleranceBF16
	}
	if a.Tokens != b.Tokens || math.Abs(a.Sum-b.Sum) > tolerance*b.Sum {
		t.Errorf("loss %v of %d labels, want %v of %d", a.Sum, a.Tokens, b.Sum, b.Tokens)
	}
	for i, p := range want {
		largest, difference := 0.0, 0.0
		for j, w := range p.GradFloat32s() {
			largest = max(largest, math.Abs(float64(w)))
			difference = max(difference, math.Abs(float64(got[i].GradFloat32s()[j]-w)))
		}
		if !(difference <= tolerance*largest) || largest == 0 {
			t.Errorf("gradient of %s differs by %.2g of %.2g", p.Name, difference, largest)
		}
	}
}

func gradients(params []*ag.Param) (all []float32) {
	for _, p := range params {
		all = append(all, p.GradFloat32s()...)
	}
	return all
}

func stepOf(t *testing.T, p *ag.Program, b ag.Batch) ag.Loss {
	t.Helper()
	l, err := p.Step(context.Background(), ag.Step{Batch: b, Scale: 1.0 / 80, Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// randomBatch returns a batch of documents with the given lengths.
func randomBatch(t *testing.T, dir string, lengths ...int) (b ag.Batch) {
	t.Helper()
	c, err := mamba.LoadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range lengths {
		b.Starts = append(b.Starts, len(b.Tokens))
		for range n {
			b.Tokens = append(b.Tokens, r.IntN(c.VocabSize))
		}
	}
	b.Labels = b.Tokens
	return b
}

// TestVulkanSteps_validated checks that the validation layer reports nothing about whole steps: their calls, and the
// synchronization of their copies.
func TestVulkanSteps_validated(t *testing.T) {
	vulkantest.Use(t, vulkantest.Options())
	for _, steps := range []string{"base|mamba2/^(lora|full_segments)$/", "falcon/^(dora|lora_bf16|full_checkpointed)$/"} {
		if got := vulkantest.Validate(t, "^TestVulkanSteps$/"+steps); len(got) > 0 {
			t.Errorf("%s: the validation layer reports\n%.2000s", steps, strings.Join(got, ""))
		}
	}
}
