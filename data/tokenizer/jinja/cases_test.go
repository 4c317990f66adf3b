package jinja

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// testCase is a template rendered by Jinja2, written by testdata/cases.py.
type testCase struct {
	Group, Template, Text string
	Spans                 [][2]int // in characters
	Error                 string   // the class of Python's exception, or "address" if a memory address was printed
	Variables             json.RawMessage
}

func readCases(t testing.TB) []testCase {
	f, err := os.Open("testdata/cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []testCase
	for s := bufio.NewScanner(f); s.Scan(); {
		var c testCase
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// TestCases compares with Jinja2: equal text and spans, an error if Jinja2 has one, and no other errors than the refusals.
func TestCases(t *testing.T) {
	refused := map[string]int{}
	cases := readCases(t)
	v, err := FromJSON(cases[0].Variables)
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]Value{}
	for _, id := range v.(*Dict).Keys() {
		variables[id], _ = v.(*Dict).Get(id)
	}
	for _, c := range cases[1:] {
		r, err := render(t.Context(), c.Template, variables)
		switch {
		case err != nil && c.Error == "":
			refused[strings.TrimPrefix(err.Error(), "chat_template: line 1: ")]++
		case err != nil:
		case c.Error != "":
			t.Errorf("%s: %q\n got %q\nwant %s", c.Group, c.Template, r.Text, c.Error)
		case r.Text != c.Text:
			t.Errorf("%s: %q\n got %q\nwant %q", c.Group, c.Template, r.Text, c.Text)
		default:
			c.checkSpans(t, r)
		}
	}
	for problem, n := range refused {
		if !slices.Contains(refusals, problem) {
			t.Errorf("%d refused: %s", n, problem)
		}
	}
}

// checkSpans compares the spans, unless they are rejected because Jinja2's spans differ from the text that was written.
func (c testCase) checkSpans(t *testing.T, r *Result) {
	spans, err := r.Spans()
	if err != nil {
		return
	}
	for i, s := range spans {
		spans[i] = [2]int{utf8.RuneCountInString(r.Text[:s[0]]), utf8.RuneCountInString(r.Text[:s[1]])}
	}
	if !slices.Equal(spans, c.Spans) {
		t.Errorf("%s: %q\n got %v\nwant %v", c.Group, c.Template, spans, c.Spans)
	}
}

// refusals are errors of this package for templates that Jinja2 renders.
var refusals = []string{
	"a range as a key is not supported", "a function as a key is not supported",
	"printing a function would print its address", "printing a generator would print its address",
	"casefold of characters beyond ASCII is not supported",
	// Jinja2 evaluates these at compile time, where they produce nothing instead of an error.
	"'NoneType' object cannot be sliced", "slice indices must be integers or None", "a slice among several subscripts",
}
