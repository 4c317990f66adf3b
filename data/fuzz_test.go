package data

import (
	"os"
	"path/filepath"
	"testing"

	"mambatrain/data/source"
)

// FuzzOpen opens arbitrary bytes. The result must be documents or an error.
func FuzzOpen(f *testing.F) {
	tok := tinyTokenizer(f)
	for _, s := range []string{`{"text":"a"}`, "{\"text\":null}\n{}\n", `{"input_ids":[1,2],"labels":[1,-100]}`, "\xEF\xBB\xBF{\"text\":\"\\ud800\"}"} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "a.jsonl")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o666); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), []source.Input{{Path: path}}, tok, Default())
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

// value is a column with a single value.
type value struct{ v any }

func (c value) Text(int) (string, bool, error)                 { panic("templates read values") }
func (c value) Ints(dst []int32, _ int) ([]int32, bool, error) { panic("templates read values") }
func (c value) Value(int) (any, error)                         { return c.v, nil }

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{.text}}", "{{join .list \", \"}}", "{{range .list}}{{.}}{{end}}", "{{with .x}}{{$.text}}{{end}}", "{{index .list 9}}", "{{printf \"%d\" .text}}"} {
		f.Add(s)
	}
	b := &source.Block{Rows: 1, Columns: map[string]source.Column{"text": value{"a"}, "list": value{[]any{"b", int64(1), nil}}, "x": value{nil}}}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseTemplate("template", text)
		if err != nil {
			return
		}
		for _, name := range r.fields {
			if _, ok := b.Columns[name]; !ok {
				return // rejected before any row is rendered
			}
		}
		r.render(b, 0)
	})
}
