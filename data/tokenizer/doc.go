// Package tokenizer turns text into token ids and back, exactly as Hugging Face's tokenizers library does for BPE: on
// bytes, as in GPT-2, GPT-NeoX, Llama 3, Qwen, and Falcon, and on characters, as in tokenizers converted from
// SentencePiece, such as those of Llama 2 and Codestral. An unknown feature of tokenizer.json is an error.
//
// Start with [Load]:
//
//	tok, err := tokenizer.Load("models/mamba-130m-hf")
//	ids := tok.Encode("A friend is a second sky.")
//	text := tok.Decode(ids)
//
// Encoding takes these steps, each in its own file: added.go finds special tokens, normalize.go composes characters,
// pretokenize.go splits words (scanners.go has fast versions of the common patterns, punctuation.go has character
// classes), characters.go covers what is different if symbols are characters, bpe.go merges each word, and encode.go
// runs the steps. decode.go and decode_steps.go reverse them, also one token at a time ([TextStream]).
//
// [Tokenizer.ChatTemplate] renders conversations, and [Trainer] trains a new tokenizer.
package tokenizer
