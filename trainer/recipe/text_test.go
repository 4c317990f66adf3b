package recipe

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/testfile"
	"mambatrain/mamba"
)

const quickstart = "../../configs/quickstart/base"

// quickstartWith returns the quick start's base with a modified tokenizer.json.
func quickstartWith(t *testing.T, change func(tokenizer map[string]any)) string {
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer_config.json"} {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(quickstart, name)); err != nil {
			t.Fatal(err)
		}
	}
	var tokenizer map[string]any
	if err := json.Unmarshal(testfile.Read(t, quickstart+"/tokenizer.json"), &tokenizer); err != nil {
		t.Fatal(err)
	}
	change(tokenizer)
	b, err := json.Marshal(tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), b, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// specialToken adds a special token to a tokenizer.json.
func specialToken(tokenizer map[string]any, id int, content string) {
	tokenizer["added_tokens"] = append(tokenizer["added_tokens"].([]any), map[string]any{
		"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
	})
}

// withSpecial979 returns a model in which token 979, the sixth token of the greedy continuation of 5, 6, 7, is special.
func withSpecial979(t *testing.T) *Model {
	dir := quickstartWith(t, func(tokenizer map[string]any) {
		model := tokenizer["model"].(map[string]any)
		vocab, old := model["vocab"].(map[string]any), ""
		for token, id := range vocab {
			if id.(float64) == 979 {
				old = token
			}
		}
		delete(vocab, old)
		vocab["<|im_end|>"] = 979
		model["merges"] = slices.DeleteFunc(model["merges"].([]any), func(m any) bool {
			parts, ok := m.([]any)
			if !ok {
				first, second, _ := strings.Cut(m.(string), " ")
				parts = []any{first, second}
			}
			return parts[0] == old || parts[1] == old || parts[0].(string)+parts[1].(string) == old
		})
		specialToken(tokenizer, 979, "<|im_end|>")
	})
	m, err := LoadModel(context.Background(), dir, "", LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Stop texts may name special tokens, which are not shown.
func TestStopAtSpecialToken(t *testing.T) {
	m := withSpecial979(t)
	shown := func(n int) (text string) {
		o := TextOptions{GenerateOptions: m.DefaultGenerate()}
		o.MaxNewTokens, o.IgnoreEOS = n, true
		texts, err := m.Continue(context.Background(), [][]int{{5, 6, 7}}, o)
		if err != nil {
			t.Fatal(err)
		}
		return texts[0].Text
	}
	before, whole := shown(5), shown(8)
	if before == whole || !strings.HasPrefix(whole, before) || strings.Contains(whole, "im_end") {
		t.Fatalf("%q, then %q", before, whole)
	}
	last := before[len(before)-1:]
	for _, c := range []struct {
		stop, text string
		tokens     int
	}{
		{"<|im_end|>", before, 6},
		{"im_end", before, 6},
		{last + "<|im_end|>", before[:len(before)-1], 6},
		{"<|im_end|>" + whole[len(before):len(before)+1], before, 7},
		{"<|im_start|>", "", 20},
		{last + "<|im_start|>", "", 20},
	} {
		var streamed strings.Builder
		o := TextOptions{GenerateOptions: m.DefaultGenerate(), StopTexts: []string{"no such text", c.stop}}
		o.MaxNewTokens, o.IgnoreEOS = 20, true
		o.Stream = func(text string) { streamed.WriteString(text) }
		texts, err := m.Continue(context.Background(), [][]int{{5, 6, 7}}, o)
		if err != nil {
			t.Fatal(err)
		}
		got := texts[0]
		if got.Text != streamed.String() {
			t.Errorf("%q: streamed %q, returned %q", c.stop, streamed.String(), got.Text)
		}
		if c.tokens == 20 {
			c.text = got.Text
		}
		if len(got.IDs) != c.tokens || got.Text != c.text || (got.FinishReason == mamba.FinishStop) != (c.tokens < 20) {
			t.Errorf("stop %q: %d tokens, %q, %s, want %d tokens, %q", c.stop, len(got.IDs), got.Text, got.FinishReason, c.tokens, c.text)
		}
	}
	o := TextOptions{GenerateOptions: m.DefaultGenerate(), StopTexts: []string{"<|im_end|>"}}
	o.MaxNewTokens, o.IgnoreEOS, o.NumBeams = 20, true, 1
	together, err := m.Continue(context.Background(), [][]int{{5, 6, 7}, {9}, {5, 6, 7}}, o)
	if err != nil || len(together[0].IDs) != 6 || len(together[2].IDs) != 6 {
		t.Errorf("%+v, %v", together, err)
	}
}

// A text that continues a state is encoded without what the tokenizer adds around a whole text, so reading a text in
// pieces equals reading it at once.
func TestEncodeAfter(t *testing.T) {
	m, err := LoadModel(context.Background(), quickstartWith(t, addBOS), "", LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := TextOptions{GenerateOptions: m.DefaultGenerate()}
	o.IgnoreEOS = true
	generate := func(s *mamba.State, prompt string, n int) []int {
		ids, err := m.EncodeAfter(s, prompt)
		if err != nil {
			t.Fatal(err)
		}
		o.State, o.MaxNewTokens = s, n
		texts, err := m.Continue(context.Background(), [][]int{ids}, o)
		if err != nil {
			t.Fatal(err)
		}
		return texts[0].IDs
	}
	want := generate(nil, "The sea", 8)
	s := m.NewState(1)
	got := append(generate(s, "The sea", 4), generate(s, "", 4)...)
	if !slices.Equal(got, want) || slices.Contains(s.Tokens[0][1:], 0) != slices.Contains(want, 0) {
		t.Errorf("%v in pieces, %v at once, state %v", got, want, s.Tokens[0])
	}
	whole, err := m.Encode("The sea is")
	if err != nil {
		t.Fatal(err)
	}
	s = m.NewState(1)
	generate(s, "The sea", 1)
	s.Tokens[0] = s.Tokens[0][:s.Fed[0]] // without the generated token
	generate(s, " is", 1)
	if read := s.Tokens[0][:s.Fed[0]]; !slices.Equal(read, whole) {
		t.Errorf("read %v in pieces, %v at once", read, whole)
	}
}

// Every prompt is continued as it would be alone, regardless of the number of prompts, and is reported when it ends.
func TestManyPrompts(t *testing.T) {
	m, err := LoadModel(context.Background(), quickstart, "", LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var prompts [][]int
	for i := range 2*atOnce + 3 {
		prompts = append(prompts, []int{5 + i, 9})
	}
	o := TextOptions{GenerateOptions: m.DefaultGenerate()}
	o.MaxNewTokens, o.DoSample, o.Seed = 4, true, 3
	done := map[int]Text{}
	o.Done = func(i int, text Text) { done[i] = text }
	all, err := m.Continue(context.Background(), prompts, o)
	if err != nil || len(all) != len(prompts) || len(done) != len(prompts) {
		t.Fatalf("%d texts, %d reported, %v", len(all), len(done), err)
	}
	for _, i := range []int{0, 1, atOnce, 2*atOnce + 2} {
		g := o.GenerateOptions
		g.First = i
		g.Vocab, g.Suppress = m.vocabulary()
		alone, err := m.Generate(context.Background(), prompts[i:i+1], g)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(alone[0].IDs, all[i].IDs) || !slices.Equal(done[i].IDs, all[i].IDs) || done[i].Text != all[i].Text {
			t.Errorf("prompt %d: %v among others, %v alone, reported %v", i, all[i].IDs, alone[0].IDs, done[i].IDs)
		}
	}
}

// Prompts are the lines of a text file or a column of JSON lines.
func TestParsePrompts(t *testing.T) {
	for text, want := range map[string][]string{
		"a\nb":                    {"a", "b"},
		"a\r\n\r\nb\r\n":          {"a", "", "b"},
		"\xEF\xBB\xBFa\n":         {"a"},
		"\n":                      {""},
		" a \n":                   {" a "},
		"{\"prompt\": \"a\\nb\"}": {"a\nb"},
		"{\"prompt\":\"a\"}\n\n{\"prompt\":\"\",\"id\":1}\n": {"a", ""},
		"{not json}\n{\"prompt\":\"a\"}":                     {"{not json}", `{"prompt":"a"}`},
		"{\"text\":\"a\"}":                                   {`{"text":"a"}`},
	} {
		if got, err := ParsePrompts([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                    "the file contains no prompts",
		"a\nb\xff":                            "line 2: is not UTF-8",
		"{\"prompt\":\"a\"}\nb":               "line 2: want an object with a prompt, as in line 1",
		"{\"prompt\":\"a\"}\n{\"x\":1}":       `line 2: no column "prompt"; columns: x`,
		"{\"prompt\":\"a\"}\n{\"prompt\":[]}": "line 2: prompt: want a string, got a list",
	} {
		if _, err := ParsePrompts([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}
