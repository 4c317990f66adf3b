package source

import (
	"math"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/testfile"
)

// A file of any name may contain an array, or objects in any layout.
func TestJSON(t *testing.T) {
	for content, want := range map[string]string{
		`[{"text":"a"},{"text":"b"}]`:                     "a|b",
		"[\n{\"text\":\"a\"}\n,\n{\"text\":\"b\"}\n]\n\n": "a|b",
		`["a","b"]`:                "a|b",
		"{\n \"text\": \"a\"\n}\n": "a",
		"{\n \"text\": \"a\"\n}\n{\n \"text\": \"b [}\\\"\"\n}":      `a|b [}"`,
		`{"text":"a"} {"text":"b"}`:                                  "a|b",
		"{\"text\":\"a\"}\r{\"text\":\"b\"}\r":                       "a|b",
		"\n\n {\"text\":\"a\"}\n\n":                                  "a",
		"\xEF\xBB\xBF\n[{\"text\":\"a\"}]":                           "a",
		`{"text":"a","x":NaN,"y":[-Infinity,{"z":Infinity}]}`:        "a",
		`{"x":"NaN","text":"Infinity \" NaN","y":NaN}`:               `Infinity " NaN`,
		`{"text":"\ud83d\ude00 \\ud83d","x":1}`:                      "\U0001F600 \\ud83d",
		`{"text":"a","text":"b"}`:                                    "b",
		`{"meta":{"a":{}},` + "\n" + `"text":"a"}` + "\n" + row("b"): "a|b",
		`{"rows":[{"text":"a"}]}`:                                    "",
		`[]`:                                                         "",
		``:                                                           "",
	} {
		for _, name := range []string{"a.json", "a.jsonl"} {
			got, _, err := read(t, testfile.Write(t, name, content), Config{})
			if err != nil {
				t.Errorf("%q: %v", content, err)
				continue
			}
			checkTexts(t, got, strings.Split(want, "|")...)
		}
	}
}

func TestJSON_faults(t *testing.T) {
	for content, want := range map[string]string{
		row("a") + "\n" + `{"text":`:              "line 3: the object is not terminated: the file is truncated",
		row("a") + `{"text":"b` + "\n" + row("c"): "line 2: a string is not terminated on its line",
		row("a") + "7\n":                          `line 2: want an object, got "7"`,
		row("a") + "[1]\n":                        "line 2: want an object, got a list",
		row("a") + `"b"`:                          "line 2: want an object, got a text",
		"text,author\na,b\n":                      `line 1: want an object, got "text,author"`,
		row("a") + "null\n":                       `got "null"`,
		`{"text":"a"},` + "\n" + row("b"):         `line 1: want an object, got ","`,
		"{\n\"text\": \"a\",\n\"x\": tru\n}":      "line 3: the object is not JSON",
		`{"text":"a\ud800"}`:                      `line 1: column "text": \ud800 is half of a surrogate pair`,
		`{"text":"\udc00\ud800"}`:                 "half of a surrogate pair",
		`{'text':'a'}`:                            "line 1: the object is not JSON",
		"[" + row("a") + "," + row("b"):           "line 3, element 2: the array is not terminated",
		"[" + row("a") + ",]":                     "line 2, element 2: want an object after the comma",
		"[" + row("a") + row("b") + "]":           "want a comma or the end of the array",
		"[" + row("a") + "] x":                    "line 2: text after the end of the array",
		"[" + row("a") + ",\n[1]]":                "line 3, element 2: want an object, got a list",
		`{"text":"a"}}`:                           `line 1: want an object, got '}'`,
		`{"text":1e999}`:                          "out of range",
	} {
		_, _, err := read(t, testfile.Write(t, "a.json", content), Config{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Go value") {
			t.Errorf("%q: %v, want an error with %q", content, err, want)
		}
	}
}

func TestJSON_numbers(t *testing.T) {
	path := testfile.Write(t, "a.jsonl", `{"n":[1,-1.5,9223372036854775807,18446744073709551615,NaN,-Infinity]}`)
	for row, err := range Rows(t.Context(), []Input{{Path: path}}, Config{}) {
		if err != nil {
			t.Fatal(err)
		}
		n := row["n"].([]any)
		if !slices.Equal(n[:4], []any{int64(1), -1.5, int64(math.MaxInt64), uint64(math.MaxUint64)}) || !math.IsNaN(n[4].(float64)) || !math.IsInf(n[5].(float64), -1) {
			t.Errorf("got %v", n)
		}
	}
}

// A column may first appear in a row after those at the beginning.
func TestJSON_late(t *testing.T) {
	var b strings.Builder
	for range 2 * blockRows {
		b.WriteString("{\"i\":0}\n")
	}
	path := testfile.Write(t, "a.jsonl", b.String()+`{"i":1,"text":"late"}`+"\n"+`{"n\u0061me":1}`+"\n")
	r, err := (&File{Path: path, Format: "jsonl"}).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, c := range []struct {
		names []string
		rows  int
		want  []string
	}{
		{[]string{"text", "other"}, 0, []string{"text"}},
		{[]string{"text"}, 2 * blockRows, nil},
		{[]string{"text"}, 2*blockRows + 1, []string{"text"}},
		{[]string{"name", "i"}, 0, []string{"name"}},
		{nil, 0, []string{"name", "text"}},
	} {
		got, err := r.Late(t.Context(), c.names, c.rows)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v in %d rows: %v, %v, want %v", c.names, c.rows, got, err, c.want)
		}
	}
}

// A float in a list of ids is not shown as if it were the integer that is wanted.
func TestInts_float(t *testing.T) {
	_, _, err := valueColumn{[]any{int64(1), 2.0}}.Ints(nil, 0)
	if want := "element 1 is the floating-point number 2, want a 32-bit integer"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A column that first appears after the beginning of a file is part of the rows.
func TestRows_lateColumn(t *testing.T) {
	path := testfile.Write(t, "a.jsonl", strings.Repeat("{\"text\":\"a\"}\n", 5000)+`{"text":"a","late":"b"}`)
	for limit, want := range map[int]any{0: "b", 5001: "b", 5000: nil} {
		var last map[string]any
		for row, err := range Rows(t.Context(), []Input{{Path: path}}, Config{MaxTrainSamples: limit}) {
			if err != nil {
				t.Fatal(err)
			}
			last = row
		}
		if last["late"] != want {
			t.Errorf("of %d rows, the last is %v, want late: %v", limit, last, want)
		}
	}
}
