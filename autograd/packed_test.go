package autograd_test

import (
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/quant"
)

// A frozen weight takes a different path through the kernels (packed, with a fused adapter) than a trainable one. Both
// must give the same adapter gradients and the same gradient of the input.
func TestFrozenEqualsTrainable(t *testing.T) {
	for name, bias := range map[string]bool{"bias": true, "no bias": false} {
		t.Run(name, func(t *testing.T) {
			var grads [3][]float32
			for k := range grads {
				table, w, a, b, c := param(t, "table", 1, 11, 20), param(t, "w", 2, 35, 20), param(t, "a", 3, 4, 20), param(t, "b", 4, 35, 4), param(t, "c", 5, 35)
				head := param(t, "head", 6, 11, 35)
				if k > 0 {
					w.Freeze()
					head.Freeze()
				}
				if k > 1 {
					w.PackOnly()
					head.PackOnly()
				}
				g := ag.NewGraph(ag.Options{Rows: 30})
				var cv ag.Var
				if bias {
					cv = g.Param(c)
				}
				y := ag.Linear(lookup(g, g.Param(table)), g.Param(w), cv, ag.LowRank{A: g.Param(a), B: g.Param(b), Scale: 2})
				prog := compile(t, g, ag.CrossEntropy(y, g.Param(head), ag.LowRank{}, ag.LossOptions{}))
				step(t, prog, batch(13, 9))
				for _, p := range []*ag.Param{table, a, b, c} {
					grads[k] = append(grads[k], p.GradFloat32s()...)
				}
			}
			near(t, "gradients, frozen", grads[1], grads[0])
			near(t, "gradients, packed only", grads[2], grads[0])
		})
	}
}

// An adapter on the first projection, with nothing trainable below it.
func TestAdapterAboveFrozenLayers(t *testing.T) {
	table, w, a, b := param(t, "table", 1, 11, 20), param(t, "w", 2, 35, 20), param(t, "a", 3, 4, 20), param(t, "b", 4, 35, 4)
	head := param(t, "head", 6, 11, 35)
	run := func() []float32 {
		a.ZeroGrad()
		b.ZeroGrad()
		g := ag.NewGraph(ag.Options{Rows: 30})
		y := ag.Linear(lookup(g, g.Param(table)), g.Param(w), ag.Var{}, ag.LowRank{A: g.Param(a), B: g.Param(b), Scale: 2})
		step(t, compile(t, g, ag.CrossEntropy(y, g.Param(head), ag.LowRank{}, ag.LossOptions{})), batch(13, 9))
		return append(slices.Clone(a.GradFloat32s()), b.GradFloat32s()...)
	}
	want := run()
	for _, p := range []*ag.Param{table, w, head} {
		p.Freeze()
	}
	near(t, "gradients", run(), want)
}

// With a quantized weight, the parameters around it, including adapters and DoRA's magnitudes, get the same gradients
// as with a frozen float32 weight that has the dequantized values.
func TestQuantized_equalsFloat32(t *testing.T) {
	quantized := func(name string, seed uint64, of quant.Type, out, in int) *ag.Param {
		p, err := ag.NewQuantized(name, of, of.Encode(param(t, name, seed, out, in).Float32s()), out, in)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var grads [2][]float32
	for k := range grads {
		table, w, head := quantized("table", 1, quant.Q6_K, 11, 256), quantized("w", 2, quant.Q4_K, 32, 256), quantized("head", 3, quant.Q8_0, 11, 32)
		in, a, b, m := param(t, "in", 4, 256, 256), param(t, "a", 5, 4, 256), param(t, "b", 6, 32, 4), param(t, "m", 7, 32)
		if k > 0 {
			for _, p := range []*ag.Param{table, w, head} {
				p.Unpack()
			}
		}
		g := ag.NewGraph(ag.Options{Rows: 30})
		x := ag.Linear(lookup(g, g.Param(table)), g.Param(in), ag.Var{}, ag.LowRank{})
		y := ag.Linear(x, g.Param(w), ag.Var{}, ag.LowRank{A: g.Param(a), B: g.Param(b), Scale: 2, Magnitude: g.Param(m)})
		step(t, compile(t, g, ag.CrossEntropy(y, g.Param(head), ag.LowRank{}, ag.LossOptions{})), batch(13, 9))
		for _, p := range []*ag.Param{in, a, b, m} {
			grads[k] = append(grads[k], p.GradFloat32s()...)
		}
	}
	near(t, "gradients", grads[0], grads[1])
}

// A quantized parameter returns its blocks, reads as their dequantized values, and cannot be trained. Unpacked, it is
// float32.
func TestQuantized_unpacks(t *testing.T) {
	data := quant.Q8_0.Encode(param(t, "w", 1, 37, 64).Float32s())
	want := make([]float32, 37*64)
	quant.Q8_0.Dequantize(want, data)
	p, err := ag.NewQuantized("w", quant.Q8_0, data, 37, 64)
	if err != nil {
		t.Fatal(err)
	}
	if of, got, ok := p.Quantized(); of != quant.Q8_0 || &got[0] != &data[0] || !ok || p.IsBF16() || p.Bytes() != int64(len(data)) || !slices.Equal(p.Shape(), []int{37, 64}) {
		t.Errorf("got %v, %v, %d bytes of %d, shape %v", of, ok, p.Bytes(), len(data), p.Shape())
	}
	if err := p.Train(); err == nil || !strings.Contains(err.Error(), "w: quantized weights (Q8_0)") {
		t.Errorf("error is %v", err)
	}
	p.PackOnly()
	if !slices.Equal(p.Float32Copy(), want) {
		t.Error("the copy differs from the blocks")
	}
	p.Unpack()
	if _, _, ok := p.Quantized(); ok || !slices.Equal(p.Float32s(), want) {
		t.Error("the unpacked value differs from the blocks")
	}
	if err := p.Train(); err != nil {
		t.Error(err)
	}
	if _, err := ag.NewQuantized("w", quant.Q8_0, data, 37, 32); err == nil || !strings.Contains(err.Error(), "autograd: w:") {
		t.Errorf("error is %v", err)
	}
}

func TestUnpackRestoresBits(t *testing.T) {
	p := param(t, "w", 1, 37, 19)
	p.Freeze()
	want := slices.Clone(p.Float32s())
	p.PackOnly()
	if p.Value != nil || p.Size() != 37*19 {
		t.Fatalf("packed only: value %v, size %d", p.Value, p.Size())
	}
	p.Unpack()
	if !slices.Equal(p.Float32s(), want) {
		t.Fatal("the restored value differs")
	}
}

// TestParam_readsEveryForm checks that rows and copies are the same for a float32, a bfloat16, and a packed-only value.
func TestParam_readsEveryForm(t *testing.T) {
	const rows, cols = 37, 19
	bits, want := make([]uint16, rows*cols), make([]float32, rows*cols)
	kernel.ToBF16(bits, param(t, "w", 1, rows, cols).Float32s())
	kernel.WidenBF16(want, bits)
	forms := map[string]*ag.Param{
		"float32":          ag.NewParam("w", tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(slices.Clone(want)))),
		"bfloat16":         ag.NewParam("w", tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(slices.Clone(bits)))),
		"packed float32":   ag.NewParam("w", tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(slices.Clone(want)))),
		"packed bfloat16":  ag.NewParam("w", tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(slices.Clone(bits)))),
		"three dimensions": ag.NewParam("w", tensor.New(tensor.WithShape(rows, 1, cols), tensor.WithBacking(slices.Clone(want)))),
	}
	forms["packed float32"].PackOnly()
	forms["packed bfloat16"].PackOnly()
	for form, p := range forms {
		if !slices.Equal(p.Float32Copy(), want) {
			t.Errorf("%s: the copy differs", form)
		}
		y := kernel.Dense(make([]float32, 5*cols), 5, cols)
		p.ReadRows(y, 30)
		if !slices.Equal(y.Data, want[30*cols:35*cols]) {
			t.Errorf("%s: rows 30 to 34 differ", form)
		}
		p.Gather(kernel.Dense(y.Data[:2*cols], 2, cols), []int{36, 0})
		if !slices.Equal(y.Data[:2*cols], slices.Concat(want[36*cols:], want[:cols])) {
			t.Errorf("%s: rows 36 and 0 differ", form)
		}
	}
	if v := ag.NewParam("b", tensor.New(tensor.WithShape(3), tensor.WithBacking([]float32{1, 2, 3}))); !slices.Equal(v.Float32Copy(), []float32{1, 2, 3}) {
		t.Error("one dimension: the copy differs")
	}
}
