package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/testfile"
)

func pieces(s splitter, text string) (out []string) {
	s.cut(text, func(lo, hi int) { out = append(out, text[lo:hi]) })
	return out
}

// TestScanner_equalsPattern compares each handwritten scanner with its regular expression on the hard texts, without
// letters that are newer than the tables of the regular expression engine.
func TestScanner_equalsPattern(t *testing.T) {
	younger := func(r rune) bool {
		for _, list := range [][][2]rune{laterLetters, laterNumbers} {
			for _, span := range list {
				if r >= span[0] && r <= span[1] {
					return true
				}
			}
		}
		return false
	}
	golden := testfile.Lines[goldenText](t, "testdata/tiny_bpe_1k_golden.jsonl")
	for pattern, scan := range knownScanners {
		slow, err := newPatternSplitter(pattern, "Isolated", keepMatches)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range golden {
			text := validUTF8(c.Text)
			if text == "" || len(text) > 2000 || strings.ContainsFunc(text, younger) {
				continue
			}
			if got, want := pieces(scan, text), pieces(slow, text); !slices.Equal(got, want) {
				t.Errorf("%s\n on %q\n got %q\nwant %q", pattern, text, got, want)
			}
		}
	}
}

func TestSplitBehaviors(t *testing.T) {
	for _, c := range []struct {
		step string
		want []string
	}{
		{`{"type":"Split","pattern":{"String":"-"},"behavior":"Isolated"}`, []string{"a", "-", "-", "b", "-", "c"}},
		{`{"type":"Split","pattern":{"String":"-"},"behavior":"Removed"}`, []string{"a", "b", "c"}},
		{`{"type":"Split","pattern":{"String":"-"},"behavior":"MergedWithPrevious"}`, []string{"a-", "-", "b-", "c"}},
		{`{"type":"Split","pattern":{"String":"-"},"behavior":"MergedWithNext"}`, []string{"a", "-", "-b", "-c"}},
		{`{"type":"Split","pattern":{"String":"-"},"behavior":"Contiguous"}`, []string{"a", "--", "b", "-", "c"}},
		{`{"type":"Split","pattern":{"Regex":"[a-z]"},"behavior":"Removed","invert":true}`, []string{"a", "b", "c"}},
		{`{"type":"Digits","individual_digits":true}`, []string{"a--b-c"}},
	} {
		tok, err := parse(fmt.Appendf(nil, tinyJSON, c.step+`,{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := pieces(tok.splits[0], "a--b-c"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.step, got, c.want)
		}
	}
}

// tinyJSON is a tokenizer.json with a placeholder for the steps of its pre-tokenizer.
const tinyJSON = `{"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Sequence","pretokenizers":[%s]},
"post_processor":null,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`

func TestParse_unknownFeatures(t *testing.T) {
	byteLevel, metaspace := `{"type":"ByteLevel","add_prefix_space":false}`, `{"type":"Metaspace","replacement":"_"}`
	const template = `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a"}},{"Sequence":{"id":"A"}}],"special_tokens":{"a":{"ids":[%d]}}}`
	good := fmt.Sprintf(tinyJSON, byteLevel)
	if _, err := parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"type":"BPE"`, `"type":"Unigram"`, "Unigram"},
		{`"type":"BPE"`, `"type":"WordPiece"`, "WordPiece"},
		{`"merges":`, `"byte_fallback":true,"merges":`, "byte_fallback"},
		{`"merges":`, `"dropout":0.1,"merges":`, "dropout"},
		{`"merges":`, `"unk_token":"a","merges":`, "unk_token"},
		{`"merges":`, `"end_of_word_suffix":"</w>","merges":`, "end_of_word_suffix"},
		{`"normalizer":null`, `"normalizer":{"type":"NFKC"}`, "NFKC"},
		{`"normalizer":null`, `"normalizer":{"type":"Sequence","normalizers":[{"type":"Lowercase"}]}`, "Lowercase"},
		{byteLevel, metaspace, "decoder: type \"ByteLevel\""},
		{byteLevel, byteLevel + "," + metaspace, "Metaspace"},
		{byteLevel, byteLevel + "," + byteLevel, "a second ByteLevel"},
		{byteLevel, `{"type":"Digits"},` + metaspace, "Metaspace after another step"},
		{byteLevel, `{"type":"Metaspace","replacement":"__"}`, "not a single character"},
		{byteLevel, `{"type":"Metaspace","replacement":"_","prepend_scheme":"last"}`, `prepend_scheme "last"`},
		{byteLevel, `{"type":"Metaspace","replacement":"_","add_prefix_space":false}`, "prepend_scheme must be never"},
		{byteLevel, `{"type":"Punctuation","behavior":"Shuffled"},` + byteLevel, "Shuffled"},
		{byteLevel, `{"type":"Whitespace"},` + byteLevel, "Whitespace"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"},` + byteLevel, "split pattern"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"a"},"behavior":"Shuffled"},` + byteLevel, "Shuffled"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"[[:alpha:]]+"},"behavior":"Isolated"},` + byteLevel, "a set within a set"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"[a-z&&[^b]]"},"behavior":"Isolated"},` + byteLevel, "an intersection"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"(?m)."},"behavior":"Isolated"},` + byteLevel, "flags other than i"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"a{,3}"},"behavior":"Isolated"},` + byteLevel, "the repetition {,3}"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"\\p{N}{1,3}+"},"behavior":"Isolated"},` + byteLevel, "the repetition {1,3}+"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"a{2}?"},"behavior":"Isolated"},` + byteLevel, "the repetition {2}?"},
		{byteLevel, `{"type":"Split","pattern":{"Regex":"[\\W]"},"behavior":"Isolated"},` + byteLevel, `\W in a set`},
		{`"decoder":{"type":"ByteLevel"}`, `"decoder":null`, "decoder"},
		{`"decoder":{"type":"ByteLevel"}`, `"decoder":{"type":"WordPiece"}`, "WordPiece"},
		{`"post_processor":null`, `"post_processor":{"type":"BertProcessing"}`, "BertProcessing"},
		{`"post_processor":null`, `"post_processor":` + fmt.Sprintf(template, -1), "id -1"},
		{`"post_processor":null`, `"post_processor":{"type":"Sequence","processors":[` + fmt.Sprintf(template, 0) + "," + fmt.Sprintf(template, 1) + `]}`, "a second TemplateProcessing"},
		{`"a b"`, `"a c"`, "vocabulary"},
		{`"a b"`, `"a"`, "merge"},
		{`"ab":2`, `"ab":-2`, "-2"},
		{`"ab":2`, `"ab":1`, `"ab" and "b" have the same id, 1`},
		{`"ab":2`, `"ab":99999999`, "99999999"},
		{`"added_tokens":[]`, `"added_tokens":[{"id":4,"content":"<x>"}]`, `"<x>" has id 4, but the tokenizers library gives it id 3`},
		{`"added_tokens":[]`, `"added_tokens":[{"id":0,"content":"b"}]`, `"b" has id 0, but the tokenizers library gives it id 1`},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.new, err, c.want)
		}
	}
}

// In a vocabulary with holes, the next free id is the number of its tokens, even after an added token of a higher id.
func TestParse_addedAfterHole(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(tinyJSON, `{"type":"ByteLevel","add_prefix_space":false}`), `"ab":2`, `"ab":2,"<h>":9`, 1)
	for id, want := range map[int]string{4: "", 10: `"<x>" has id 10, but the tokenizers library gives it id 4`} {
		added := fmt.Sprintf(`"added_tokens":[{"id":9,"content":"<h>"},{"id":%d,"content":"<x>"}]`, id)
		_, err := parse([]byte(strings.Replace(text, `"added_tokens":[]`, added, 1)))
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(got, want)) {
			t.Errorf("id %d: %v, want %q", id, err, want)
		}
	}
}

// With ignore_merges, a word is looked up as it is spelled in the byte alphabet.
func TestEncode_ignoreMergesAlphabet(t *testing.T) {
	for range 10 { // in any order of the map
		tok, err := parse([]byte(`{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"},
"model":{"type":"BPE","vocab":{"æĹ¥":1,"日":0},"merges":[],"ignore_merges":true}}`))
		if err != nil {
			t.Fatal(err)
		}
		if ids := tok.Encode("日"); !slices.Equal(ids, []int{1}) {
			t.Fatalf("ids %v, want 1", ids)
		}
	}
}

func TestLoad_config(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"tokenizer.json":        fmt.Sprintf(tinyJSON, `{"type":"ByteLevel","add_prefix_space":false}`),
		"tokenizer_config.json": `{"add_bos_token":true,"bos_token":{"content":"b"},"eos_token":"a","chat_template":[{"name":"default","template":"x"}]}`,
	} {
		if err := atomicfile.WriteFile(dir+"/"+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	tok := loadTokenizer(t, dir)
	if got := tok.Encode("ab"); !slices.Equal(got, []int{1, 0, 1}) {
		t.Errorf("ids %v, want the beginning of text and the special tokens a and b", got)
	}
	if id, ok := tok.EOS(); !ok || id != 0 {
		t.Errorf("end of text is %d, %v", id, ok)
	}
	if tok.ChatTemplateText() != "x" {
		t.Errorf("chat template %q", tok.ChatTemplateText())
	}
	if err := atomicfile.WriteFile(dir+"/tokenizer_config.json", []byte(`{"eos_token":"</s>"}`)); err != nil {
		t.Fatal(err)
	}
	if id, ok := loadTokenizer(t, dir).EOS(); !ok || id != 3 {
		t.Errorf("an end of text that tokenizer.json does not have is %d, %v, want the next id", id, ok)
	}
}

func TestParse_unknownFeaturesOfCharacters(t *testing.T) {
	const good = `{"added_tokens":[],"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"_"},"pre_tokenizer":null,
"post_processor":null,"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
"model":{"type":"BPE","unk_token":"a","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`
	if _, err := parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"unk_token":"a"`, `"unk_token":"c"`, `unk_token "c" is not in the vocabulary`},
		{`{"String":" "}`, `{"Regex":"("}`, "normalizer: Replace: pattern"},
		{`{"String":" "}`, `{}`, "want {\"String\""},
		{`"content":" "`, `"content":"  "`, "want a single character"},
		{`"start":1`, `"start":-1`, "start -1"},
		{`{"type":"Fuse"},`, `{"type":"Replace","pattern":{"Regex":"a"},"content":"b"},{"type":"Fuse"},`, "Replace: want a pattern"},
		{`{"type":"Fuse"},`, `{"type":"CTC"},`, "CTC"},
		{`"content":"_"`, `"content":"` + strings.Repeat("_", 2000) + `"`, "1024 times longer"},
		{`{"type":"Fuse"},`, strings.Repeat(`{"type":"Replace","pattern":{"String":"a"},"content":"aaaa"},`, 6), "1024 times longer"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.new, err, c.want)
		}
	}
}

// Regular expressions have the same meaning as in the reference.
func TestPatternSplitter_oniguruma(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          []string
	}{
		{`^a`, "a\na ba", []string{"a", "\n", "a", " ba"}},
		{`a$`, "a\nba\nc a", []string{"a", "\nb", "a", "\nc ", "a"}},
		{`\Aa`, "a\na", []string{"a", "\na"}},
		{`a\Z`, "a\na\n", []string{"a\n", "a", "\n"}},
		{`a.b`, "a\nb", []string{"a\nb"}},
		{`\s`, "\u00a0x\u0085", []string{"\u00a0", "x", "\u0085"}},
		{`(?i)k`, "kK\u212a", []string{"k", "K", "\u212a"}},
		{`(?i:[]k])`, "]K", []string{"]", "K"}},
		{`\w+`, "हिन्दी, a_1", []string{"हिन्दी", ", ", "a_1"}},
		{`[\w-]+`, "हिन्दी-x.", []string{"हिन्दी-x", "."}},
		{`\W`, "हिन्दी.", []string{"हिन्दी", "."}},
		{`.\b`, "हिन्दी.", []string{"हिन्द", "ी", "."}},
		{`.\B`, "ab.", []string{"a", "b", "."}},
		{`\d{1,3}(?=(\d{3})*\b)`, "1234567", []string{"1", "234", "567"}},
		{`\x{61}+\p{N}{2}`, "aa123", []string{"aa12", "3"}},
	} {
		s, err := newPatternSplitter(c.pattern, "Isolated", keepMatches)
		if err != nil {
			t.Error(err)
		} else if got := pieces(s, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.pattern, got, c.want)
		}
	}
}
