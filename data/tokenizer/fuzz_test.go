package tokenizer

import (
	"os"
	"testing"
	"unicode/utf8"
)

func FuzzTokenizerJSON(f *testing.F) {
	raw, err := os.ReadFile("testdata/tiny_bpe_1k_tokenizer.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]},"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"}}`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{},"merges":[]},"added_tokens":[{"id":0,"content":"é","normalized":true,"lstrip":true,"rstrip":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"ByteLevel"}]},"decoder":{"type":"ByteLevel"}}`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"▁":1,"▁a":2,"<0xC3>":3,"<u>":4},"merges":["▁ a"],"byte_fallback":true,"unk_token":"<u>","fuse_unk":true,"ignore_merges":true},"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"a"},{"type":"Replace","pattern":{"Regex":"e*"},"content":"▁"}]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"},{"type":"Punctuation"}]},"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tok, err := parse(raw)
		if err != nil {
			return
		}
		const text = "It's  a test: 42 — é\u0301 \t\n漢字 <|endoftext|>"
		tok.Decode(tok.Encode(text))
		ids := tok.AppendText(nil, text)
		again, spans := tok.AppendSpans(nil, nil, text)
		if len(again) != len(ids) || len(spans) != len(ids) {
			t.Errorf("%d ids, %d with spans, %d spans", len(ids), len(again), len(spans))
		}
	})
}

// FuzzEncode checks that a tokenizer with all bytes is lossless, and that spans are within the text.
func FuzzEncode(f *testing.F) {
	tok := tinyTokenizer(f)
	tok.normalizers = nil
	for _, s := range []string{"", "It's", "  a  ", "\u0301\u0300e", "\xff\xfe", "<|endoftext|>x", "'\u017f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids := tok.Encode(text)
		if want := validUTF8([]byte(text)); tok.Decode(ids) != want {
			t.Errorf("decoded %q, want %q", tok.Decode(ids), want)
		}
		_, spans := tok.AppendSpans(nil, nil, text)
		limit := len(validUTF8([]byte(text)))
		for _, s := range spans {
			if s.Start < 0 || s.End < s.Start || s.End > limit {
				t.Errorf("span %v of %d bytes", s, limit)
			}
		}
	})
}

// FuzzStream checks that streamed text equals the whole text and that no character is split.
func FuzzStream(f *testing.F) {
	tok := tinyTokenizer(f)
	f.Add([]byte{200, 10, 240, 3, 255})
	f.Fuzz(func(t *testing.T, raw []byte) {
		ids := make([]int, len(raw))
		var s TextStream
		text := ""
		for i, b := range raw {
			ids[i] = int(b) * 4
			part := s.Add(visible(tok, ids[i]))
			if !utf8.ValidString(part) {
				t.Errorf("part %q", part)
			}
			text += part
		}
		if text += s.Rest(); text != tok.DecodeText(ids) {
			t.Errorf("streamed %q, want %q", text, tok.DecodeText(ids))
		}
	})
}
