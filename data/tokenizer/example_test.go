package tokenizer_test

import (
	"fmt"
	"log"

	"mambatrain/data/tokenizer"
)

func Example() {
	tok, err := tokenizer.Load("testdata/tiny_bpe_1k_tokenizer.json")
	if err != nil {
		log.Fatal(err)
	}
	ids := tok.Encode("small steps<|endoftext|>")
	for _, id := range ids {
		fmt.Printf("%d %q\n", id, tok.Decode([]int{id}))
	}
	fmt.Printf("%q, without special tokens %q\n", tok.Decode(ids), tok.DecodeText(ids))
	// Output:
	// 84 "s"
	// 78 "m"
	// 502 "all"
	// 352 " st"
	// 519 "ep"
	// 84 "s"
	// 0 "<|endoftext|>"
	// "small steps<|endoftext|>", without special tokens "small steps"
}

// The spans give the part of the text that each token came from.
func ExampleTokenizer_AppendSpans() {
	tok, err := tokenizer.Load("testdata/tiny_bpe_1k_tokenizer.json")
	if err != nil {
		log.Fatal(err)
	}
	const text = "small steps"
	_, spans := tok.AppendSpans(nil, nil, text)
	for _, s := range spans {
		fmt.Printf("%q ", text[s.Start:s.End])
	}
	// Output: "s" "m" "all" " st" "ep" "s"
}
