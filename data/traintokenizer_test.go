package data

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTrainTokenizer(t *testing.T) {
	text := strings.Repeat("low lower lowest\n\nnew newer newest — wide wider widest 漢字\n\n", 3)
	path := writeFile(t, "corpus.txt", text)
	var files [][]byte
	for range 2 {
		dir := t.TempDir()
		tok, err := TrainTokenizer(t.Context(), []Input{{Path: path}}, DefaultOptions(), TokenizerOptions{VocabSize: 270}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if tok.VocabSize() != 270 {
			t.Errorf("vocabulary of %d, want 270", tok.VocabSize())
		}
		if id, ok := tok.EOS(); !ok || id != 0 {
			t.Errorf("end of text is %d, %v", id, ok)
		}
		ids := tok.Encode(text)
		if got := tok.Decode(ids); got != text {
			t.Errorf("decoded %q", got)
		}
		if len(ids) >= len(text)*3/4 {
			t.Errorf("%d tokens for %d bytes: nothing was learned", len(ids), len(text))
		}
		raw, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, raw)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same text gives two tokenizers")
	}
}

// TestTrainsAsTokenizersLibrary compares the merges learned from a file with those of tokenizers 0.23.3.
func TestTrainsAsTokenizersLibrary(t *testing.T) {
	raw, err := os.ReadFile("testdata/trained_merges.json")
	if err != nil {
		t.Fatal(err)
	}
	var want [][2]string
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	o, dir := DefaultOptions(), t.TempDir()
	o.Format = "text:file"
	if _, err := TrainTokenizer(t.Context(), []Input{{Path: "testdata/sft_rows.jsonl"}}, o, TokenizerOptions{VocabSize: 500}, dir); err != nil {
		t.Fatal(err)
	}
	var got struct{ Model struct{ Merges [][2]string } }
	if raw, err = os.ReadFile(filepath.Join(dir, "tokenizer.json")); err == nil {
		err = json.Unmarshal(raw, &got)
	}
	if err != nil || !slices.Equal(got.Model.Merges, want) {
		t.Errorf("merges %v, %v, want %v", got.Model.Merges, err, want)
	}
}

func TestTrainTokenizerFaults(t *testing.T) {
	path := writeFile(t, "corpus.txt", "a b c\n")
	for _, c := range []struct {
		o    TokenizerOptions
		path string
		want string
	}{
		{TokenizerOptions{VocabSize: 257}, path, "vocabulary of 257"},
		{TokenizerOptions{VocabSize: 300}, writeFile(t, "ids.jsonl", `{"input_ids":[1,2]}`), "token ids"},
		{TokenizerOptions{VocabSize: 300}, writeFile(t, "none.txt", "\n"), "no text"},
	} {
		_, err := TrainTokenizer(t.Context(), []Input{{Path: c.path}}, DefaultOptions(), c.o, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.o, err, c.want)
		}
	}
}
