package data_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/data"
	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
)

// Two rows become one micro-batch: documents laid end to end, with the labels of the prompt ignored.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "pairs.jsonl")
	rows := `{"question":"One?","answer":" Two."}
{"question":"Up?","answer":" Down."}
`
	if err := os.WriteFile(path, []byte(rows), 0o666); err != nil {
		panic(err)
	}

	tok, err := tokenizer.Load("tokenizer/testdata/tiny_bpe_1k_tokenizer.json")
	if err != nil {
		panic(err)
	}
	o := data.Default()
	o.Prompt, o.Completion, o.Shuffle = "question", "{{.answer}}", false
	d, err := data.Open(context.Background(), []source.Input{{Path: path}}, tok, o)
	if err != nil {
		panic(err)
	}
	defer d.Close()
	l, err := d.Loader(2, 42)
	if err != nil {
		panic(err)
	}
	b := l.At(0, 0)
	for _, s := range b.Segments(tok) {
		fmt.Printf("document %d, rows %2d to %2d, counted %-5v %q\n", s.Document, s.First, s.First+s.Rows-1, s.Counted, s.Text)
	}
	fmt.Println(b.Counted(), "labels count; documents start at", b.Starts)
	// Output:
	// document 0, rows  0 to  2, counted false "One?"
	// document 0, rows  3 to  7, counted true  " Two.<|endoftext|>"
	// document 1, rows  8 to 10, counted false "Up?"
	// document 1, rows 11 to 14, counted true  " Down.<|endoftext|>"
	// 9 labels count; documents start at [0 8]
}
