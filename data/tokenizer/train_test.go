package tokenizer

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"mambatrain/internal/testfile"
)

// TestTrainer_golden compares the merges learned from a file with those of tokenizers 0.23.3.
func TestTrainer_golden(t *testing.T) {
	var want [][2]string
	if err := json.Unmarshal(testfile.Read(t, "testdata/trained_merges.json"), &want); err != nil {
		t.Fatal(err)
	}
	trainer, err := NewTrainer(TrainConfig{VocabSize: 500})
	if err != nil {
		t.Fatal(err)
	}
	trainer.Add(string(testfile.Read(t, "../testdata/sft_rows.jsonl")))
	dir := t.TempDir()
	if _, err := trainer.Train(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	var got struct{ Model struct{ Merges [][2]string } }
	if err := json.Unmarshal(testfile.Read(t, filepath.Join(dir, "tokenizer.json")), &got); err != nil || !slices.Equal(got.Model.Merges, want) {
		t.Errorf("merges %v, %v, want %v", got.Model.Merges, err, want)
	}
}
