package data

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/testfile"
)

func TestTrainTokenizer(t *testing.T) {
	text := strings.Repeat("low lower lowest\n\nnew newer newest — wide wider widest 漢字\n\n", 3)
	path := testfile.Write(t, "corpus.txt", text)
	var files [][]byte
	for range 2 {
		dir := t.TempDir()
		tok, err := TrainTokenizer(t.Context(), []source.Input{{Path: path}}, Default(), tokenizer.TrainConfig{VocabSize: 270}, dir)
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

func TestTrainTokenizer_faults(t *testing.T) {
	path := testfile.Write(t, "corpus.txt", "a b c\n")
	for _, c := range []struct {
		o    tokenizer.TrainConfig
		path string
		want string
	}{
		{tokenizer.TrainConfig{VocabSize: 257}, path, "got 257"},
		{tokenizer.TrainConfig{VocabSize: 300, SpecialTokens: []string{"<|end|>", "<|end|>"}}, path, `"<|end|>" is empty or appears twice`},
		{tokenizer.TrainConfig{VocabSize: 300, SpecialTokens: []string{""}}, path, `"" is empty`},
		{tokenizer.TrainConfig{VocabSize: 300}, testfile.Write(t, "ids.jsonl", `{"input_ids":[1,2]}`), "token ids"},
		{tokenizer.TrainConfig{VocabSize: 300}, testfile.Write(t, "none.txt", "\n"), "no text"},
	} {
		_, err := TrainTokenizer(t.Context(), []source.Input{{Path: c.path}}, Default(), c.o, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.o, err, c.want)
		}
	}
	chats := Default()
	chats.Messages = "messages"
	_, err := TrainTokenizer(t.Context(), []source.Input{{Path: path}}, chats, tokenizer.TrainConfig{VocabSize: 300}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "data.messages") || strings.Contains(err.Error(), "chat_template.jinja") {
		t.Errorf("chats: error %v", err)
	}
}
