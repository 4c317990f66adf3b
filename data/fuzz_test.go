package data

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"
)

// fuzzSource opens arbitrary bytes as a file of one format: an error or documents, nothing else.
func fuzzSource(f *testing.F, name string, seeds ...string) {
	tok := tinyTokenizer(f)
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), name)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o666); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), []Input{{Path: path}}, tok, DefaultOptions())
		if err != nil {
			return
		}
		for i := range d.Len() {
			if e := d.Example(i); len(e.Tokens) == 0 || len(e.Tokens) != len(e.Labels) {
				t.Errorf("%d tokens, %d labels", len(e.Tokens), len(e.Labels))
			}
		}
		d.Close()
	})
}

func FuzzJSONLines(f *testing.F) {
	fuzzSource(f, "a.jsonl", `{"text":"a"}`, "{\"text\":null}\n{}\n", `{"input_ids":[1,2],"labels":[1,-100]}`, "\xEF\xBB\xBF{\"text\":\"\\ud800\"}")
}

func FuzzJSONArray(f *testing.F) {
	fuzzSource(f, "a.json", `[{"text":"a"},{"text":"b"}]`, `[`, `[]`, `[null]`, `{"text":"a"}`)
}

func FuzzCSV(f *testing.F) {
	fuzzSource(f, "a.csv", "text\na\n", "text,x\n\"a\nb\",c\n", "a,a\n", "text\n\"")
}

func FuzzText(f *testing.F) {
	fuzzSource(f, "a.txt", "a\n\nb", "\r\n\r\n", "\xff\x00")
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{.text}}", "{{join .list \", \"}}", "{{range .list}}{{.}}{{end}}", "{{with .x}}{{$.text}}{{end}}", "{{index .list 9}}", "{{printf \"%d\" .text}}"} {
		f.Add(s)
	}
	b := &block{rows: 1, columns: map[string]column{"text": valueColumn{"a"}, "list": valueColumn{[]any{"b", int64(1)}}, "x": valueColumn{nil}}}
	f.Fuzz(func(t *testing.T, source string) {
		r, err := parseTemplate("template", source)
		if err != nil {
			return
		}
		for _, name := range r.fields {
			if _, ok := b.columns[name]; !ok {
				return // refused before any row is rendered
			}
		}
		r.render(b, 0)
	})
}

func FuzzTokenizerJSON(f *testing.F) {
	raw, err := os.ReadFile("testdata/tiny_bpe_1k_tokenizer.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]},"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"}}`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{},"merges":[]},"added_tokens":[{"id":3,"content":"é","normalized":true,"lstrip":true,"rstrip":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"ByteLevel"}]},"decoder":{"type":"ByteLevel"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tok, err := ParseTokenizer(raw)
		if err != nil {
			return
		}
		const text = "It's  a test: 42 — é\u0301 \t\n漢字 <|endoftext|>"
		ids := tok.Encode(text)
		tok.Decode(ids)
		again, spans := tok.EncodeSpans(text)
		if len(again) != len(ids) || len(spans) != len(ids) {
			t.Errorf("%d ids, %d with spans, %d spans", len(ids), len(again), len(spans))
		}
	})
}

// FuzzEncode checks that a tokenizer with all bytes loses nothing, and that spans lie within the text.
func FuzzEncode(f *testing.F) {
	tok := tinyTokenizer(f)
	tok.nfc = false
	for _, s := range []string{"", "It's", "  a  ", "\u0301\u0300e", "\xff\xfe", "<|endoftext|>x", "'\u017f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids, spans := tok.EncodeSpans(text)
		if want := validUTF8([]byte(text)); tok.Decode(ids) != want {
			t.Errorf("decoded %q, want %q", tok.Decode(ids), want)
		}
		limit := len(validUTF8([]byte(text)))
		for _, s := range spans {
			if s.Start < 0 || s.End < s.Start || s.End > limit {
				t.Errorf("span %v of %d bytes", s, limit)
			}
		}
	})
}

// FuzzStream checks that streamed text is the whole text's and that no character comes in two.
func FuzzStream(f *testing.F) {
	tok := tinyTokenizer(f)
	f.Add([]byte{200, 10, 240, 3, 255})
	f.Fuzz(func(t *testing.T, raw []byte) {
		ids := make([]int, len(raw))
		s, text := tok.Stream(), ""
		for i, b := range raw {
			ids[i] = int(b) * 4
			part := s.Next(ids[i])
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

func FuzzCursor(f *testing.F) {
	d := open(f, idRowsFile(f, 20), nil, DefaultOptions())
	l, err := d.Loader(LoaderOptions{BatchSize: 3, Seed: 1})
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(l.Cursor())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"epoch":-1,"next":99}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c Cursor
		if json.Unmarshal(raw, &c) != nil || l.Seek(c) != nil {
			return
		}
		b, err := l.Next(t.Context())
		if err != nil || b.Epoch != c.Epoch || b.Index != c.Next || b.Documents() == 0 {
			t.Errorf("%+v leads to micro-batch %d of epoch %d, %v", c, b.Index, b.Epoch, err)
		}
		l.Close()
	})
}

// FuzzStoreFile reads damaged token files as the cache would if its checksum were right.
func FuzzStoreFile(f *testing.F) {
	w, err := newStoreWriter(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	if err := w.write(&chunk{tokens: []int32{1, 2, 3}, offsets: []int32{0, 2, 3}, rows: []int64{0, 1}}); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "store.arrow")
	if err := w.commit(path); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s store
		if s.readMapped(raw) != nil {
			return
		}
		for i := range s.count {
			s.document(i)
		}
	})
}
