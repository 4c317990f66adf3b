package recipe

import (
	"os"
	"path/filepath"
	"testing"

	"mambatrain/data/tokenizer"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// TestFewerRows uses an adapter whose base was resized to fewer rows, as transformers does for a tokenizer with fewer ids
// than the model has rows. Loading and merging drop the others, and undoing the merge restores them.
func TestFewerRows(t *testing.T) {
	const rows = 290
	base := t.TempDir()
	if err := os.CopyFS(base, os.DirFS("../../lora/testdata/models/base")); err != nil {
		t.Fatal(err)
	}
	trainer, err := tokenizer.NewTrainer(tokenizer.TrainConfig{VocabSize: 258})
	if err != nil {
		t.Fatal(err)
	}
	trainer.Add("a")
	if _, err := trainer.Train(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	small, err := mamba.Load(base, mamba.LoadOptions{VocabSize: rows})
	if err != nil {
		t.Fatal(err)
	}
	c := *DefaultLoRA()
	c.TargetModules = lora.ParseTargets("in_proj, embeddings")
	a, err := NewAdapter(small, c, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		for i := range p.Float32s() {
			p.Float32s()[i] += float32(i%7-3) * 1e-3
		}
	}
	a.Invalidate()
	adapter := filepath.Join(t.TempDir(), "adapter")
	if err := a.Save(adapter, lora.SaveOptions{BaseModel: base}); err != nil {
		t.Fatal(err)
	}
	merge, err := OpenMerge(t.Context(), nil, base, Share{adapter, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer merge.Close()
	want, err := merge.probe(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	m, err := LoadModel(t.Context(), base, adapter, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := merge.probe(t.Context(), m.Model)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := lora.LargestDifference(got, want); err != nil || d > 1e-4 {
		t.Errorf("the logits differ by %v: %v", d, err)
	}
	merged, back := t.TempDir(), t.TempDir()
	if r, err := merge.Write(t.Context(), merged, mamba.SaveOptions{}); err != nil || *r.Difference > 1e-4 {
		t.Fatalf("report %+v, %v", r, err)
	}
	if c, err := mamba.LoadConfig(merged); err != nil || c.VocabSize != rows {
		t.Errorf("merged with %d rows, want %d: %v", c.VocabSize, rows, err)
	}
	if _, err := merge.Undo(t.Context(), merged, back, weights.DefaultShardBytes); err != nil {
		t.Fatal(err)
	}
	if c, err := mamba.LoadConfig(back); err != nil || c.VocabSize != merge.config.VocabSize {
		t.Errorf("restored with %d rows, want %d: %v", c.VocabSize, merge.config.VocabSize, err)
	}
	many, err := LoadTokenizer(t.Context(), nil, "../../configs/quickstart/base")
	if err != nil {
		t.Fatal(err)
	}
	d := merge.adapters[0].Directory
	if n := rowsFor(many.VocabSize(), d, many); n != many.VocabSize() {
		t.Errorf("%d rows for a tokenizer of %d ids", n, many.VocabSize())
	}
	if n := rowsFor(rows+10, d, nil); n != rows+10 {
		t.Errorf("%d rows without a tokenizer, want those of the base", n)
	}
}
