package plot

import (
	"bytes"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"

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
		if err := Write(w, "svg", History{Name: "a", Rows: rows}); err != nil {
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
	if err := Write(&b, "png", History{Name: "a", Rows: rows}, History{Name: "b", Rows: rows[:1]}, History{Name: "empty", Rows: nil}); err != nil {
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
	if err := WriteFiles(dir, History{Name: "a", Rows: []checkpoint.Row{{"step": 1, "loss": 3}, {"step": 2, "loss": 2}}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loss.svg", "loss.png"} {
		if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Size() < 1000 {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// Best steps, checkpoints, and other events of a run are marked and explained in the legend.
func TestWrite_marks(t *testing.T) {
	run := History{
		Name: "a", BestStep: 20, Checkpoints: []int{10, 20}, Resumes: []int{10},
		Rows: []checkpoint.Row{{"step": 10, "loss": 3}, {"step": 20, "eval_loss": 2.5}, {"step": 30, "loss": math.NaN()}},
	}
	other := History{Name: "a name\nthat is longer than the forty-eight letters that are shown of it", Rows: run.Rows}
	for _, c := range []struct {
		runs         []History
		want, absent []string
	}{
		{[]History{run}, []string{"a: loss", "training", "evaluation", "best: step 20", "checkpoint", "resumed", "not finite"}, []string{"learning rate"}},
		{[]History{run, other}, []string{"loss", "a", "a name that is longer th…", "evaluation", "best step", "checkpoint", "resumed"}, []string{"training"}},
		{[]History{{Name: "a", Rows: run.Rows[:1]}}, []string{"training"}, []string{"evaluation", "best", "checkpoint", "resumed", "not finite"}},
	} {
		var b strings.Builder
		if err := Write(&b, "svg", c.runs...); err != nil {
			t.Fatal(err)
		}
		for _, text := range c.want {
			if !strings.Contains(b.String(), ">"+text) {
				t.Errorf("%q is not in the drawing of %d runs", text, len(c.runs))
			}
		}
		for _, text := range c.absent {
			if strings.Contains(b.String(), text) {
				t.Errorf("%q is in the drawing of %d runs", text, len(c.runs))
			}
		}
	}
}

// Any finite number can be plotted.
func TestWrite_largeNumbers(t *testing.T) {
	for _, pair := range [][2]float64{{1e17, 1e17}, {1.7e308, -1.7e308}, {math.MaxFloat64, math.MaxFloat64}, {5e-324, 5e-324}, {0, 0}, {math.NaN(), math.Inf(1)}} {
		rows := []checkpoint.Row{{"step": 1, "loss": pair[0]}, {"step": 1e15, "loss": pair[1]}}
		for _, format := range []string{"svg", "png"} {
			var b strings.Builder
			if err := Write(&b, format, History{Name: "a", Rows: rows}); err != nil {
				t.Error(err)
			}
			if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
				t.Errorf("%v: the drawing has coordinates that are not numbers", pair)
			}
		}
	}
}

// TestWrite_anyNumbers checks that all finite numbers in a run's log are plotted.
func TestWrite_anyNumbers(t *testing.T) {
	for name, values := range map[string][]float64{
		"constant 1e16": {1e16, 1e16}, "constant 1e17": {1e17, 1e17}, "the largest": {math.MaxFloat64, math.MaxFloat64}, "one": {1e17},
		"both ends": {1.7e308, -1.7e308}, "the smallest": {5e-324, 5e-324}, "neighbors": {1e16, 1e16 + 2}, "far apart": {1e-300, 1e300},
	} {
		var rows []checkpoint.Row
		for i, v := range values {
			rows = append(rows, checkpoint.Row{"step": float64(i + 1), "loss": v, "eval_loss": v, "grad_norm": v, "learning_rate": v})
		}
		for _, format := range []string{"svg", "png"} {
			if err := Write(io.Discard, format, History{Name: "a", Rows: rows}); err != nil {
				t.Errorf("%s, %s: %v", name, format, err)
			}
		}
	}
}

// TestWrite_manyRows checks that a plot has no more points than can be seen, including the highest and the lowest.
func TestWrite_manyRows(t *testing.T) {
	var line []vg.Point
	for i := range 200_000 {
		line = append(line, vg.Point{X: vg.Length(i) / 400, Y: vg.Length(i % 7)})
	}
	line[77_777].Y, line[99_999].Y = -5, 50
	kept := thinned(line)
	if len(kept) > 4_100 || !slices.Contains(kept, line[77_777]) || !slices.Contains(kept, line[99_999]) || kept[0] != line[0] || kept[len(kept)-1] != line[len(line)-1] {
		t.Errorf("%d points remain", len(kept))
	}
	few := line[:3:3]
	few[1].X, few[2].X = 5, 10
	if got := thinned(few); !slices.Equal(got, few) {
		t.Errorf("%v became %v", few, got)
	}
}

func TestRunColor_distinct(t *testing.T) {
	const runs, least = 16, 40 // of 255
	for i := range runs {
		for j := range i {
			r, g, b, _ := runColor(i).RGBA()
			r2, g2, b2, _ := runColor(j).RGBA()
			d := math.Hypot(math.Hypot(float64(r)-float64(r2), float64(g)-float64(g2)), float64(b)-float64(b2)) / 257
			if d < least {
				t.Errorf("runs %d and %d have colors %v and %v, %.0f apart", j, i, runColor(j), runColor(i), d)
			}
		}
	}
}
