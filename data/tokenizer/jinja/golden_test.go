package jinja

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"
)

// golden is a rendering by transformers 5.24 with Jinja2 3.1.6.
type golden struct {
	Template, Form, Conversation string
	Text                         string
	Assistant                    [][2]int // in characters
	Error                        string   // the class of Python's exception
	Date                         bool     // today's date is in the text
}

func readGolden(t testing.TB, path string) []golden {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []golden
	for s := bufio.NewScanner(f); s.Scan(); {
		var g golden
		if err := json.Unmarshal(s.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		list = append(list, g)
	}
	return list
}

// conversations returns the variables of the golden renderings.
func conversations(t testing.TB, path string) map[string]map[string]Value {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := FromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]Value{}
	d := v.(*Dict)
	for _, name := range d.Keys() {
		c, _ := d.Get(name)
		variables := map[string]Value{"tools": nil, "documents": nil, "add_generation_prompt": false,
			"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
		for _, key := range c.(*Dict).Keys() {
			variables[key], _ = c.(*Dict).Get(key)
		}
		all[name] = variables
	}
	return all
}

func (g golden) check(t *testing.T, source string, variables map[string]Value) {
	template, err := Parse("chat_template", source)
	if err != nil {
		if g.Error == "" {
			t.Errorf("%v", err)
		}
		return
	}
	r, err := template.Render(t.Context(), variables)
	if g.Date {
		return
	}
	if (err != nil) != (g.Error != "") {
		t.Fatalf("error %v, want %q", err, g.Error)
	}
	if err != nil {
		return
	}
	if r.Text != g.Text {
		t.Errorf("\n got %q\nwant %q", r.Text, g.Text)
	}
	spans, err := r.Spans()
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range spans {
		spans[i] = [2]int{utf8.RuneCountInString(r.Text[:s[0]]), utf8.RuneCountInString(r.Text[:s[1]])}
	}
	if !slices.Equal(spans, g.Assistant) {
		t.Errorf("spans %v, want %v", spans, g.Assistant)
	}
}

// TestShipped renders the templates that trl 1.16 ships.
func TestShipped(t *testing.T) {
	root := os.Getenv("MAMBA_TRAIN_TEST_DATA")
	if root == "" {
		t.Skip("MAMBA_TRAIN_TEST_DATA is not set")
	}
	root = filepath.Join(root, "../reference/golden/chat")
	variables := conversations(t, filepath.Join(root, "conversations.json"))
	for _, g := range readGolden(t, filepath.Join(root, "shipped.jsonl")) {
		t.Run(g.Template+"/"+g.Conversation, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(root, "templates", g.Template))
			if err != nil {
				t.Fatal(err)
			}
			g.check(t, string(source), variables[g.Conversation])
		})
	}
}

// TestForms renders small templates with one construct each.
func TestForms(t *testing.T) {
	variables := conversations(t, "testdata/conversations.json")
	for _, g := range readGolden(t, "testdata/forms.jsonl") {
		t.Run(g.Form+"/"+g.Conversation, func(t *testing.T) { g.check(t, g.Template, variables[g.Conversation]) })
	}
}
