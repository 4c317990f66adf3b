package mamba

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/nn/weights"
)

// input reads a forward case as a batch.
func input(t testing.TB, f *weights.Reader) Input {
	in := Input{IDs: sequences(t, f, "input_ids"), Mask: sequences(t, f, "attention_mask"), Labels: sequences(t, f, "labels")}
	if x, ok := f.Tensor("inputs_embeds"); ok {
		v, n := floats(t, f, "inputs_embeds"), x.Shape[1]*x.Shape[2]
		for i := range x.Shape[0] {
			in.Embeds = append(in.Embeds, v[i*n:(i+1)*n])
		}
	}
	return in
}

// atPlaces selects the rows of a reference value [B, T, width] that are in a flat batch.
func atPlaces(t testing.TB, f *weights.Reader, tensor string, places []Place) []float32 {
	x, _ := f.Tensor(tensor)
	v, length, width := floats(t, f, tensor), x.Shape[1], x.Shape[2]
	var rows []float32
	for _, p := range places {
		at := (p.Sequence*length + p.Position) * width
		rows = append(rows, v[at:at+width]...)
	}
	return rows
}

// TestForward compares the model with the reference, both with a graph and without one.
func TestForward(t *testing.T) {
	for _, model := range goldenModels {
		m := loadGolden(t, model+"/model")
		for _, c := range cases(t, model, "forward_*") {
			t.Run(model+"/"+c, func(t *testing.T) {
				f := golden(t, model, c+".safetensors")
				in := input(t, f)
				checkDirect(t, m, f, in)
				checkGraph(t, m, f, in)
			})
		}
	}
}

func checkDirect(t *testing.T, m *Model, f *weights.Reader, in Input) {
	out, err := m.Run(context.Background(), in, Want{Logits: AllPositions, Hidden: true})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "logits", out.Logits.Data, atPlaces(t, f, "logits", out.Places))
	if _, ok := f.Tensor("hidden_states.0"); ok {
		for i, h := range out.Hidden {
			near(t, name("hidden state %d", i), h.Data, atPlaces(t, f, name("hidden_states.%d", i), out.Places))
		}
	}
	if _, ok := f.Tensor("loss"); ok {
		nearLoss(t, "direct", out.Loss, float64(floats(t, f, "loss")[0]))
	}
}

// newGraph returns a graph on the process's device, if there is one.
func newGraph(rows int) *ag.Graph {
	return ag.NewGraph(ag.Options{Rows: rows, Device: kernel.CurrentDevice() != nil})
}

func checkGraph(t *testing.T, m *Model, f *weights.Reader, in Input) {
	batch, places, err := in.flatten(m.Config.HiddenSize)
	if err != nil {
		t.Fatal(err)
	}
	g := newGraph(len(places) + 3)
	var hidden []ag.Var
	if in.Embeds != nil {
		hidden = m.ForwardEmbeds(g)
	} else {
		hidden = m.Forward(g)
	}
	logits := m.Logits(hidden[len(hidden)-1])
	p, err := g.Compile(ag.Var{}, append(hidden, logits)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	near(t, "graph logits", p.Float32s(logits), atPlaces(t, f, "logits", places))
	if _, ok := f.Tensor("hidden_states.0"); ok {
		for i, h := range hidden {
			near(t, name("graph hidden state %d", i), p.Float32s(h), atPlaces(t, f, name("hidden_states.%d", i), places))
		}
	}
}

// TestGradients compares the loss and the gradient of every parameter with the reference, with and without
// recomputation.
func TestGradients(t *testing.T) {
	tried := 0
	for _, model := range goldenModels {
		for _, c := range cases(t, model, "forward_*") {
			f := golden(t, model, c+".safetensors")
			if !strings.Contains(strings.Join(f.Names(), " "), "grad.") {
				continue
			}
			for _, checkpointing := range []bool{false, true} {
				tried++
				t.Run(name("%s/%s/checkpointing=%v", model, c, checkpointing), func(t *testing.T) {
					m := loadGolden(t, model+"/model")
					m.Checkpointing = checkpointing
					checkGradients(t, m, f)
				})
			}
		}
	}
	if tried < 10 {
		t.Errorf("only %d cases with gradients", tried)
	}
}

func checkGradients(t *testing.T, m *Model, f *weights.Reader) {
	batch, _, err := input(t, f).flatten(m.Config.HiddenSize)
	if err != nil {
		t.Fatal(err)
	}
	checkBatchGradients(t, m, f, batch)
}

func checkBatchGradients(t *testing.T, m *Model, f *weights.Reader, batch ag.Batch) {
	for _, p := range m.Params() {
		if err := p.Train(); err != nil {
			t.Fatal(err)
		}
	}
	g := newGraph(len(batch.Tokens))
	p, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	loss, err := p.Step(context.Background(), ag.Step{Batch: batch, Scale: 1 / float64(batch.Counted())})
	if err != nil {
		t.Fatal(err)
	}
	nearLoss(t, "graph", loss.Sum/float64(loss.Tokens), float64(floats(t, f, "loss")[0]))
	for _, p := range m.Params() {
		want := floats(t, f, "grad."+p.Name)
		largest := 0.0
		for _, x := range want {
			largest = max(largest, math.Abs(float64(x)))
		}
		within(t, "gradient of "+p.Name, p.GradFloat32s(), want, gradRel*largest, 0)
	}
}

// TestFormats checks that 16-bit weights are widened exactly and that shards load as one model.
func TestFormats(t *testing.T) {
	for _, format := range []string{"bf16", "fp16"} {
		f := golden(t, "formats", "forward_"+format+".safetensors")
		checkDirect(t, loadGolden(t, "formats/"+format), f, input(t, f))
	}
	for _, model := range []string{"falcon", "mamba2"} {
		f := golden(t, model, "formats", "forward_bf16.safetensors")
		checkDirect(t, loadGolden(t, model+"/formats/bf16"), f, input(t, f))
	}
	want, got := loadGolden(t, "base/model"), loadGolden(t, "formats/sharded")
	for i, p := range want.Params() {
		if !slices.Equal(got.Params()[i].Float32s(), p.Float32s()) {
			t.Errorf("%s: differs between shards and one file", p.Name)
		}
	}
}

// TestBF16InMemory compares weights stored in bfloat16 with the same weights widened to float32. Activations are
// rounded when multiplied by bfloat16 weights, which costs some accuracy.
func TestBF16InMemory(t *testing.T) {
	const rounded = 0.05 // of logits of size 10, through 3 layers of products in bfloat16
	for _, dir := range []string{"formats", "falcon/formats", "mamba2/formats"} {
		m, err := Load(filepath.Join("testdata/golden", dir, "bf16"), LoadOptions{Precision: BF16, Packed: true})
		if err != nil {
			t.Fatal(err)
		}
		f := golden(t, dir, "forward_bf16.safetensors")
		out, err := m.Run(context.Background(), input(t, f), Want{Logits: AllPositions})
		if err != nil {
			t.Fatal(err)
		}
		within(t, dir+": logits", out.Logits.Data, floats(t, f, "logits"), rounded, rounded)
		for _, p := range m.Params() {
			if p.IsBF16() != isMatrix(p.Name, p.Shape()) {
				t.Errorf("%s: in bfloat16: %v", p.Name, p.IsBF16())
			}
		}
	}
}
