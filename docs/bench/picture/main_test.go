package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

const peers = `LoRA step of <mamba>, 2 threads

| | tokens per second | peak memory |
|---|---|---|
| mamba-train | 320 | 0.81 GiB |
| transformers | 28 | 3.84 GiB |
| mamba-train, again | 321 | 0.81 GiB |
| mamba-train, bf16 | 490 | 0.65 GiB |

| | prompt | decoding |
`

func TestDrawBars(t *testing.T) {
	var out strings.Builder
	if err := drawBars(&out, strings.NewReader(peers)); err != nil {
		t.Fatal(err)
	}
	svg := out.String()
	if strings.Contains(svg, ", again") || strings.Contains(svg, "<mamba>") {
		t.Error("a repeated run is drawn, or the title is not escaped")
	}
	ours, peer := strings.Index(svg, "bf16"), strings.Index(svg, "transformers")
	if ours < 0 || peer < ours {
		t.Errorf("bf16 at %d, transformers at %d, want ours first", ours, peer)
	}
	if !strings.Contains(svg, fmt.Sprintf(`width="%.1f"`, float64(panel))) || !strings.Contains(svg, ">490<") || !strings.Contains(svg, ">3.84<") {
		t.Error("the longest bar does not fill its panel, or a value is missing:\n" + svg)
	}
}

func TestDrawLines(t *testing.T) {
	var out strings.Builder
	record := "text\n\n| tokens | segments | all at once |\n|---|---|---|\n| 4,096 | 1.6 GiB | 3 GiB |\n| 65,536 | 1.6 GiB | |\n"
	if err := drawLines(&out, strings.NewReader(record)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"segments", "all at once", "GiB"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
	curves, _ := readCurves(strings.NewReader(record))
	if len(curves) != 2 || len(curves[0].points) != 2 || len(curves[1].points) != 1 || curves[0].points[1].X != 65536 {
		t.Errorf("curves %v", curves)
	}
}

func TestDraw_faults(t *testing.T) {
	bars := "| | tokens per second | peak memory |\n|---|---|---|\n"
	for _, text := range []string{"", "no table", bars, bars + "| a | 1 |\n", bars + "| a | fast | 1 GiB |\n"} {
		if err := drawBars(io.Discard, strings.NewReader(text)); err == nil {
			t.Errorf("bars %q: no error", text)
		}
	}
	lines := "| tokens | a |\n|---|---|\n"
	for _, text := range []string{"", "no table", lines + "| 1 |\n", lines + "| many | 1 GiB |\n", lines + "| 1 | much |\n"} {
		if err := drawLines(io.Discard, strings.NewReader(text)); err == nil {
			t.Errorf("lines %q: no error", text)
		}
	}
}
