// Package tokenizer turns text into token ids and back, exactly as Hugging Face's tokenizers library does for BPE: on bytes, as
// GPT-2, GPT-NeoX, Llama 3, Qwen and Falcon have it, and on characters, as the tokenizers made from SentencePiece's have it,
// such as Llama 2's and Codestral's. A feature of tokenizer.json that it does not know is an error.
//
// Begin with [Load]:
//
//	tok, err := tokenizer.Load("models/mamba-130m-hf")
//	ids := tok.Encode("A friend is a second sky.")
//	text := tok.Decode(ids)
//
// A text takes these steps, each in its own file: added.go finds special tokens, normalize.go composes characters,
// pretokenize.go splits words (scanners.go has the fast forms of the common patterns, punctuation.go the kinds of
// characters), characters.go has what is different where symbols are characters, bpe.go merges each word, and encode.go
// drives them. decode.go and decode_steps.go go the other way, also token by token ([TextStream]).
//
// [Tokenizer.ChatTemplate] renders conversations, and [Trainer] trains a new tokenizer.
package tokenizer
