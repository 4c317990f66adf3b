package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/data/source"
	"mambatrain/internal/fault"
	"mambatrain/internal/label"
	"mambatrain/internal/testfile"
)

// Token ids with the masks of trl's SFTTrainer. Masked tokens do not count, unless the row has labels.
func TestOpen_lossMasks(t *testing.T) {
	const no = label.Ignored
	for _, c := range []struct {
		rows           string
		completionOnly bool
		want           []int // labels of the last row
	}{
		{`{"input_ids":[34,585,15,42],"completion_mask":[0,0,1,1]}`, true, []int{no, no, 15, 42}},
		{`{"input_ids":[34,585,15,42],"completion_mask":[0,0,1,1]}`, false, []int{34, 585, 15, 42}},
		{`{"input_ids":[34,585,15,42],"assistant_masks":[0,1,0,1]}`, false, []int{no, 585, no, 42}},
		{`{"input_ids":[34,585,15,42],"completion_mask":[0,1,1,1],"assistant_masks":[1,1,0,1]}`, true, []int{no, 585, no, 42}},
		{`{"input_ids":[1,2,3,4],"labels":[1,-100,3,4],"completion_mask":[1,1,0,1]}`, true, []int{1, no, 3, 4}}, // labels are used as they are
		{`{"input_ids":[1,2,3,4],"completion_mask":[0,0,1,1],"attention_mask":[0,1,1,1]}`, true, []int{no, 3, 4}},
		{strings.Repeat("{\"input_ids\":[1,2]}\n", 5000) + `{"input_ids":[1,2,3],"completion_mask":[0,0,1]}`, true, []int{no, no, 3}},
		{strings.Repeat("{\"input_ids\":[1,2]}\n", 5000) + `{"input_ids":[1,2,3],"labels":[-100,2,3]}`, true, []int{no, 2, 3}},
	} {
		o := Default()
		o.CompletionOnlyLoss = c.completionOnly
		d := open(t, testfile.Write(t, "ids.jsonl", c.rows), nil, o)
		if got := d.Example(d.Len() - 1).Labels; !slices.Equal(got, c.want) {
			t.Errorf("%.60s: labels %v, want %v", c.rows, got, c.want)
		}
	}
	_, err := Open(t.Context(), []source.Input{{Path: testfile.Write(t, "ids.jsonl", `{"input_ids":[1,2],"completion_mask":[1]}`)}}, nil, Default())
	if err == nil || !strings.Contains(err.Error(), "line 1: completion_mask has length 1, but input_ids has length 2") {
		t.Errorf("a mask that is too short: %v", err)
	}
}

// The error for ids and labels beyond a model's vocabulary names the file and row, even if they come from the cache.
func TestCheckVocabulary(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.jsonl")
	for path, text := range map[string]string{
		a: "{\"input_ids\":[1,2,3]}\n{\"input_ids\":[]}\n",
		b: "{\"input_ids\":[1,2]}\n{\"input_ids\":[4,5,6],\"labels\":[4,-100,5000]}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	o := Default()
	o.Cache = filepath.Join(dir, "cache")
	for range 2 {
		d := open(t, filepath.Join(dir, "*.jsonl"), nil, o)
		if err := d.CheckVocabulary(5001); err != nil {
			t.Error(err)
		}
		want := fmt.Sprintf("data: %s: row 1: label 5000 is outside the model's vocabulary of 1024", b)
		if err := d.CheckVocabulary(1024); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if err := d.CheckVocabulary(6); err == nil || !strings.Contains(err.Error(), "row 1: token id 6 ") {
			t.Errorf("%v, want token id 6", err)
		}
	}
}

// A prompt and a completion that run together are reported once.
func TestOpen_joints(t *testing.T) {
	for _, c := range []struct{ prompt, completion, want string }{
		{"Who keeps the lamp?", "The owl.", `"…ps the lamp?The owl."`},
		{"Answer:", "42", `"Answer:42"`},
		{"a b", "c", `"a bc"`},
		{"Say", `\"yes\"`, `"Say\"yes\""`},
		{"Answer:", " 42", ""},
		{"Answer:\n", "42", ""},
		{"<|user|>hi<|assistant|>", "Hello", ""},
		{"問い？", "答え", ""},
		{"Answer:", "答え", ""},
		{"", "Hello", ""},
		{"Hello", "", ""},
		{"Hello", ", you", ""},
	} {
		path := testfile.Write(t, "pairs.jsonl", fmt.Sprintf("{\"q\":\"x\",\"a\":\" y\"}\n{\"q\":%q,\"a\":\"%s\"}\n", c.prompt, c.completion)+"{\"q\":\"c\",\"a\":\"d\"}\n{\"q\":\"e\",\"a\":\"f\"}\n")
		o := Default()
		o.Prompt, o.Completion, o.Cache = "q", "a", t.TempDir()
		if c.want == "" {
			c.want = `"cd"`
		}
		for range 2 { // the second time from the cache
			var told []string
			o.Warn = func(err error) { told = append(told, err.Error()) }
			open(t, path, tinyTokenizer(t), o)
			if len(told) != 1 || !strings.Contains(told[0], "joined without a space, as in "+c.want) || !strings.Contains(told[0], "pairs.jsonl: line ") {
				t.Errorf("%q %q: %q, want one of %s", c.prompt, c.completion, told, c.want)
			}
		}
	}
}

// Two ways to render a row are an error. The default column does not count as one.
func TestConfig_oneRendering(t *testing.T) {
	for _, c := range []struct {
		set  func(*Config)
		want string
	}{
		{func(c *Config) { c.DatasetTextField, c.Completion = "question", "answer" }, "dataset_text_field: given with completion"},
		{func(c *Config) { c.DatasetTextField, c.Template = "question", "{{.x}}" }, "dataset_text_field: given with template"},
		{func(c *Config) { c.DatasetTextField, c.Messages = "question", "m" }, "dataset_text_field: given with messages"},
		{func(c *Config) { c.Template, c.Messages = "{{.x}}", "m" }, "template: given with messages"},
		{func(c *Config) { c.DatasetTextField = "question" }, ""},
		{func(c *Config) { c.Prompt, c.Completion = "q", "a" }, ""},
		{func(c *Config) { c.DatasetTextField, c.Completion = "text", "a" }, ""},
		{func(c *Config) { c.Encoding = "latin1" }, ""},
		{func(c *Config) { c.Encoding = "koi8-r" }, `encoding: must be one of utf-8, latin-1, windows-1252, utf-16, got "koi8-r"`},
		{func(c *Config) { c.MaxRowBytes = 0 }, `max_row_bytes: want a size above 0 and below 2GiB, got "0"`},
	} {
		o := Default()
		c.set(&o)
		if err := o.Validate(); err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// A column that is absent from the first rows is found, for texts, templates, and chats.
func TestOpen_lateColumns(t *testing.T) {
	path := testfile.Write(t, "rows.jsonl", strings.Repeat("{\"i\":0}\n", 5000)+`{"text":"late","author":"Ann"}`)
	o := Default()
	o.AddEOS = false
	checkTexts(t, texts(t, path, o), "late")
	o.Template = "{{if .author}}{{.text}} by {{.author}}{{end}}"
	checkTexts(t, texts(t, path, o), "late by Ann")
	o.Template = "{{with .text}}{{with $}}{{.text}}!{{end}}{{end}}"
	checkTexts(t, texts(t, path, o), "late!")
	o.Template, o.MaxTrainSamples = "{{.text}}", 100
	if _, err := Open(t.Context(), []source.Input{{Path: path}}, tinyTokenizer(t), o); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("a column that is missing from the rows read: %v", err)
	}
}

// A file of tokens does not replace its own input, whatever its path is.
func TestWriteTokens_ownInput(t *testing.T) {
	path := testfile.Write(t, "own.jsonl", "{\"text\":\"fine\"}\n")
	before := testfile.Read(t, path)
	link := filepath.Join(t.TempDir(), "link.jsonl")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	for _, c := range [][2]string{{path, path}, {link, path}, {filepath.Dir(path), path}, {filepath.Join(filepath.Dir(path), "*"), filepath.Dir(path) + "/./own.jsonl"}} {
		_, err := WriteTokens(t.Context(), []source.Input{{Path: c[0]}}, tinyTokenizer(t), Default(), c[1])
		if !errors.As(err, new(fault.Fault)) || !strings.Contains(err.Error(), "is an input of this command") {
			t.Errorf("%v: %v", c, err)
		}
	}
	if after := testfile.Read(t, path); string(after) != string(before) {
		t.Errorf("own.jsonl is %q", after)
	}
}
