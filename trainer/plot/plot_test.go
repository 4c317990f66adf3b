package plot

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/trainer/checkpoint"
)

func TestWrite(t *testing.T) {
	rows := []checkpoint.Row{
		{"step": 1, "loss": 3, "learning_rate": 1e-3, "grad_norm": 2},
		{"step": 2, "loss": math.NaN(), "learning_rate": 5e-4, "grad_norm": math.Inf(1)},
		{"step": 2, "eval_short_loss": 2.5},
		{"step": 3, "loss": 2, "learning_rate": 0, "grad_norm": 1},
		{"step": 3, "train_loss": 2.4},
	}
	one, again := &strings.Builder{}, &strings.Builder{}
	for _, w := range []*strings.Builder{one, again} {
		if err := Write(w, "svg", History{"a", rows}); err != nil {
			t.Fatal(err)
		}
	}
	if one.String() != again.String() {
		t.Error("the same history gives two different drawings")
	}
	for _, want := range []string{"training", "evaluation short", "learning rate", "gradient norm", "step"} {
		if !strings.Contains(one.String(), want) {
			t.Errorf("%q is not in the drawing", want)
		}
	}
	var b bytes.Buffer
	if err := Write(&b, "png", History{"a", rows}, History{"b", rows[:1]}, History{"empty", nil}); err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(&b); err != nil {
		t.Error(err)
	}
	if err := Write(&b, "gif"); err == nil {
		t.Error("gif was accepted")
	}
}

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFiles(dir, History{"a", []checkpoint.Row{{"step": 1, "loss": 3}, {"step": 2, "loss": 2}}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loss.svg", "loss.png"} {
		if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Size() < 1000 {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}
