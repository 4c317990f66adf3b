// Package pyjson reads JSON as Python's json module writes it. Python knows three numbers that JSON does not: NaN,
// Infinity, and -Infinity. Model settings contain them, as in "time_step_limit": [0.0, Infinity].
package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"

	"mambatrain/internal/inputfile"
)

// words are Python's additional numbers. In clean text they are strings that start with an escaped NUL, unlike any
// other string in such a file.
var words = []struct {
	word  string
	value float64
}{{"-Infinity", math.Inf(-1)}, {"Infinity", math.Inf(1)}, {"NaN", math.NaN()}}

func marked(word string) []byte { return []byte(`"\u0000` + word + `"`) }

// Clean returns b as JSON without Python's additional numbers, for decoders that do not know them. [Float] recognizes
// the replacements, and [Restore] reverses them. A byte order mark is removed.
func Clean(b []byte) []byte {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !bytes.Contains(b, []byte("NaN")) && !bytes.Contains(b, []byte("Infinity")) {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	for i := 0; i < len(b); {
		n := token(b[i:])
		if word := string(b[i : i+n]); word == "NaN" || word == "Infinity" || word == "-Infinity" {
			out = append(out, marked(word)...)
		} else {
			out = append(out, word...)
		}
		i += n
	}
	return out
}

// token returns the length of the string, word, or single byte at the start of b.
func token(b []byte) int {
	switch {
	case b[0] == '"':
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(b)
	case isWord(b[0]):
		n := 1
		for n < len(b) && isWord(b[n]) {
			n++
		}
		return n
	}
	return 1
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+-._", c) >= 0
}

// Restore reverses [Clean] in JSON that was produced from clean text.
func Restore(b []byte) []byte {
	for _, w := range words {
		b = bytes.ReplaceAll(b, marked(w.word), []byte(w.word))
	}
	return b
}

// Unmarshal is like [json.Unmarshal] for what Python writes, with errors in plain words. Values of type
// [json.RawMessage] contain clean text.
func Unmarshal(b []byte, v any) error {
	b = Clean(b)
	return Explain(b, json.Unmarshal(b, v))
}

// ReadFile reads a settings file into v. Errors name the file. The rules of [inputfile.Read] apply.
func ReadFile(path string, limit int64, v any) error {
	b, err := inputfile.Read(path, limit)
	if err != nil {
		return err
	}
	if err := Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Float is a number that may be NaN or infinite, written either as one of Python's words or in the form used by
// transformers 5, such as {"__float__": "Infinity"}.
type Float float64

// UnmarshalJSON reads clean text.
func (x *Float) UnmarshalJSON(b []byte) error {
	var tagged struct {
		Float string `json:"__float__"`
	}
	json.Unmarshal(b, &tagged) // fails for anything but an object
	for _, w := range words {
		if bytes.Equal(b, marked(w.word)) || tagged.Float == w.word {
			*x = Float(w.value)
			return nil
		}
	}
	return json.Unmarshal(b, (*float64)(x))
}

// MarshalJSON writes numbers that JSON does not know as transformers 5 does.
func (x Float) MarshalJSON() ([]byte, error) {
	for _, w := range words {
		if v := float64(x); v == w.value || math.IsNaN(v) && math.IsNaN(w.value) {
			return fmt.Appendf(nil, `{"__float__":%q}`, w.word), nil
		}
	}
	return json.Marshal(float64(x))
}

// Explain rewrites an error of encoding/json, which refers to Go types, for people who have a file in front of them.
// text is the decoded text, used to find the line number; if it is nil, the line is omitted. Other errors, including its
// own, are returned unchanged.
func Explain(text []byte, err error) error {
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.As(err, &syntax) && strings.HasPrefix(syntax.Error(), "unexpected end"):
		return errors.New("unexpected end of JSON")
	case syntax != nil:
		line := ""
		if text != nil {
			line = fmt.Sprintf("line %d: ", 1+bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n")))
		}
		return fmt.Errorf("%snot JSON: %v", line, syntax) // not wrapped, so that another call returns it unchanged
	case errors.As(err, &typed):
		path := typed.Field
		if path != "" {
			path += ": "
		}
		got := typed.Value
		if got == "array" {
			got = "list"
		}
		return fmt.Errorf("%swant %s, got %s", path, kindOf(typed.Type), got)
	}
	return err
}

// kindOf returns the name of the kind of JSON value that corresponds to a Go type.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
}
