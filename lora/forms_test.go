package lora_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// TestBaseForms uses an adapter with a base in bfloat16 and with a packed one. The bfloat16 base differs from a
// float32 base with the same values only by the rounding of its products.
func TestBaseForms(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 12))
		m := anyTiny(t, r)
		c := randomConfig(r, m)
		if c.InitLoraWeights == lora.InitPissa {
			c.InitLoraWeights = lora.InitTrue
		}
		base, ids := t.TempDir(), probe(m, r)
		if err := m.Save(base, mamba.SaveOptions{DType: weights.BF16}); err != nil {
			t.Fatal(err)
		}
		adapter, want := saved(t, r, load(t, base), c, ids)
		for _, o := range []mamba.LoadOptions{{Packed: true}, {Precision: mamba.BF16}, {Precision: mamba.BF16, Packed: true}} {
			tolerance := mergedLogits
			if o.Precision == mamba.BF16 {
				tolerance = 0.05
			}
			m, err := mamba.Load(base, o)
			if err != nil {
				t.Fatal(err)
			}
			a, err := lora.Load(adapter, m)
			if err != nil {
				t.Fatalf("seed %d %+v: %v", seed, o, err)
			}
			near(t, "adapted", directLogits(t, m, ids), want, tolerance, tolerance)
			if err := a.Train(); err != nil {
				t.Fatalf("seed %d %+v: %v", seed, o, err)
			}
			step(t, m, ids, 1)
			if err := a.Merge(); err != nil {
				t.Fatal(err)
			}
			near(t, "merged", directLogits(t, m, ids), want, tolerance, tolerance)
			if t.Failed() {
				t.Fatalf("seed %d %+v: %+v", seed, o, c)
			}
		}
	}
}

// TestForeignPissa uses an unconverted adapter that peft saved with init_lora_weights: pissa. It is relative to the
// base without its principal components: loading removes these again, and merging gives W − B₀A₀ + BA.
func TestForeignPissa(t *testing.T) {
	const rank, path = 8, "backbone.layers.1.mixer.in_proj"
	base, r := filepath.Join("testdata", "models", "base"), rand.New(rand.NewPCG(1, 9))
	w := floats(t, openTensors(t, base), path+".weight")
	out, in := 256, 64
	x := mat.NewDense(out, in, nil)
	for i, v := range w {
		x.Set(i/in, i%in, float64(v))
	}
	var svd mat.SVD
	if !svd.Factorize(x, mat.SVDThin) {
		t.Fatal("no decomposition")
	}
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	for k, s := range svd.Values(nil)[:rank] {
		for i := range out {
			for j := range in {
				x.Set(i, j, x.At(i, j)-u.At(i, k)*s*v.At(j, k))
			}
		}
	}
	a, b := make([]float32, rank*in), make([]float32, out*rank)
	for i := range a {
		a[i] = float32(0.2 * r.NormFloat64())
	}
	for i := range b {
		b[i] = float32(0.1 * r.NormFloat64())
	}
	want := make([]float32, len(w))
	for i := range want {
		sum := x.At(i/in, i%in)
		for k := range rank {
			sum += 2 * float64(b[i/in*rank+k]) * float64(a[k*in+i%in])
		}
		want[i] = float32(sum)
	}
	dir, config := t.TempDir(), map[string]any{"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": []string{path}, "init_lora_weights": "pissa"}
	tensors := []weights.Entry{
		weights.FromFloat32s("base_model.model."+path+".lora_A.weight", []int{rank, in}, a, weights.F32),
		weights.FromFloat32s("base_model.model."+path+".lora_B.weight", []int{out, rank}, b, weights.F32),
	}
	if err := weights.Save(filepath.Join(dir, lora.WeightsFile), tensors, nil); err != nil {
		t.Fatal(err)
	}
	writeConfig(t, dir, config)

	m := load(t, base)
	loaded, err := lora.Load(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	ids := probe(m, r)
	logits := directLogits(t, m, ids)
	merged, _ := mergeDirs(t, base, lora.Term{Directory: openDir(t, dir), Weight: 1})
	near(t, "merged weight", floats(t, openTensors(t, merged), path+".weight"), want, 1e-5, 0)
	near(t, "logits of the merged files", directLogits(t, load(t, merged), ids), logits, mergedLogits, mergedLogits)

	// Saved again, it is a plain adapter for the unchanged base.
	plain := t.TempDir()
	if err := loaded.Save(plain, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := openDir(t, plain); d.Config.R != 2*rank || d.Config.LoraAlpha != 4*rank {
		t.Errorf("saved with rank %d and alpha %v, want %d and %d", d.Config.R, d.Config.LoraAlpha, 2*rank, 4*rank)
	}
	again := load(t, base)
	if _, err := lora.Load(plain, again); err != nil {
		t.Fatal(err)
	}
	near(t, "saved as a plain adapter", directLogits(t, again, ids), logits, mergedLogits, mergedLogits)

	// With DoRA, the rows of that sum are rescaled to their magnitudes.
	dora, magnitude := t.TempDir(), make([]float32, out)
	for i := range magnitude {
		magnitude[i] = 1
		row := want[i*in : (i+1)*in]
		square := 0.0
		for _, x := range row {
			square += float64(x) * float64(x)
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(square))
		}
	}
	tensors = append(tensors, weights.FromFloat32s("base_model.model."+path+".lora_magnitude_vector", []int{out}, magnitude, weights.F32))
	if err := weights.Save(filepath.Join(dora, lora.WeightsFile), tensors, nil); err != nil {
		t.Fatal(err)
	}
	config["use_dora"] = true
	writeConfig(t, dora, config)
	for _, weight := range []float64{1, 0.5} {
		merged, _ = mergeDirs(t, base, lora.Term{Directory: openDir(t, dora), Weight: weight})
		near(t, "merged DoRA weight", floats(t, openTensors(t, merged), path+".weight"), want, 1e-5, 0)
		if weight == 1 {
			other := load(t, base)
			loaded, err := lora.Load(dora, other)
			if err != nil {
				t.Fatal(err)
			}
			logits := directLogits(t, other, ids)
			near(t, "logits of the merged DoRA files", directLogits(t, load(t, merged), ids), logits, mergedLogits, mergedLogits)
			checkpoint := t.TempDir()
			if err := loaded.Save(checkpoint, lora.SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			stir(loaded, r)
			if err := loaded.Restore(checkpoint); err != nil {
				t.Fatal(err)
			}
			near(t, "restored DoRA", directLogits(t, other, ids), logits, 0, 0)
		}
		for i, x := range w { // for half of the change
			want[i] = (x + want[i]) / 2
		}
	}
}

// TestForeignPissa_head uses an adapter of a head, whose reduced weight PEFT saves: nothing is removed from the base.
func TestForeignPissa_head(t *testing.T) {
	const name = "base"
	r := rand.New(rand.NewPCG(1, 5))
	m := model(t, name)
	reduced := slices.Clone(m.Head.Weight.Float32s())
	for i := range reduced {
		reduced[i] *= 0.9
	}
	c, foreign := lora.Default(), t.TempDir()
	c.TargetModules = lora.Targets{Names: []string{"lm_head"}}
	ids := probe(m, r)
	plain, _ := saved(t, r, m, c, ids)
	dir := rewrite(t, plain, nil, []weights.Entry{weights.FromFloat32s("base_model.model.lm_head.base_layer.weight", m.Head.Weight.Shape(), reduced, weights.F32)})
	copyFile(t, filepath.Join(dir, lora.WeightsFile), filepath.Join(foreign, lora.WeightsFile))
	changeConfig(t, plain, foreign, map[string]any{"init_lora_weights": "pissa"})

	var logits [][]float32
	for _, dir := range []string{dir, foreign} {
		m := model(t, name)
		if _, err := lora.Load(dir, m); err != nil {
			t.Fatal(err)
		}
		merged, _ := mergeDirs(t, modelDir(name), lora.Term{Directory: openDir(t, dir), Weight: 1})
		logits = append(logits, directLogits(t, m, ids), directLogits(t, load(t, merged), ids))
	}
	near(t, "loaded PiSSA", logits[2], logits[0], 0, 0)
	near(t, "merged PiSSA", logits[3], logits[1], 0, 0)
	near(t, "loaded and merged", logits[3], logits[2], mergedLogits, mergedLogits)
}

// TestProbe checks that a probe detects differences, including NaN.
func TestProbe(t *testing.T) {
	ids := lora.ProbeIDs(50, lora.ProbeTokens)
	if len(ids) != lora.ProbeTokens || !slices.Equal(ids, lora.ProbeIDs(50, lora.ProbeTokens)) || slices.Max(ids) >= 50 || slices.Min(ids) < 0 {
		t.Errorf("probe %v", ids)
	}
	for _, c := range []struct {
		a, b []float32
		want float64
	}{
		{[]float32{1, 2}, []float32{1, 2}, 0},
		{[]float32{1, 2}, []float32{1.5, 1.75}, 0.5},
		{[]float32{1, float32(math.NaN())}, []float32{1, 2}, math.Inf(1)},
	} {
		if got, err := lora.LargestDifference(c.a, c.b); err != nil || got != c.want {
			t.Errorf("got %v (%v), want %v", got, err, c.want)
		}
	}
	if _, err := lora.LargestDifference([]float32{1}, []float32{1, 2}); err == nil {
		t.Error("different vocabularies are accepted")
	}
}
