package trainer

import (
	"math"
	"testing"

	"mambatrain/autograd/kernel"
	"mambatrain/nn/weights"
)

func TestLabelSmoothingMatchesTorch(t *testing.T) {
	f, err := weights.Open("testdata/label_smoothing.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	get := func(name string) []float32 {
		x, _ := f.Tensor(name)
		v, err := x.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	x, _ := f.Tensor("labels")
	labels, err := x.Ints()
	if err != nil {
		t.Fatal(err)
	}
	counted := 0
	for _, y := range labels {
		if y >= 0 {
			counted++
		}
	}
	logits := kernel.Dense(get("logits"), 11, 23)
	nll, grad := make([]float64, 11), kernel.Dense(make([]float32, 11*23), 11, 23)
	kernel.CrossEntropy(nll, grad, logits, labels, 1/float32(counted), 0.1)
	sum := 0.0
	for _, l := range nll {
		sum += l
	}
	if got, want := sum/float64(counted), float64(get("loss")[0]); math.Abs(got-want) > 1e-6*want {
		t.Errorf("smoothed loss %v, want %v", got, want)
	}
	near(t, "gradient", grad.Data, get("grad.logits"), 1e-6)
}
