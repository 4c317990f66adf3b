// Package tokenizer turns text into token ids and back, exactly as Hugging Face's tokenizers library does for byte-level BPE:
// GPT-2, GPT-NeoX, Llama 3, Qwen and their kin. A feature of tokenizer.json that it does not know is an error.
//
// Begin with [Load]:
//
//	tok, err := tokenizer.Load("models/mamba-130m-hf")
//	ids := tok.Encode("A friend is a second sky.")
//	text := tok.Decode(ids)
//
// A text takes these steps, each in a file of its own: added.go finds special tokens, normalize.go composes characters,
// pretokenize.go splits words (scanners.go has the fast forms of the common patterns), bpe.go merges each word, and encode.go
// drives them. decode.go goes the other way, also token by token ([Tokenizer.Stream]).
//
// [Tokenizer.ChatTemplate] renders conversations, and [Trainer] trains a new tokenizer.
package tokenizer
