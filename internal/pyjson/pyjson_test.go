package pyjson_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"mambatrain/internal/pyjson"
)

func TestUnmarshal_additionalNumbers(t *testing.T) {
	var v struct {
		Limit  []pyjson.Float
		Text   string
		Others map[string]json.RawMessage
	}
	text := `{"Limit": [0.0, Infinity, -Infinity,NaN, {"__float__": "Infinity"}, 1e3],
		"Text": "NaN, \"Infinity\" and -Infinity", "Others": {"NaN": NaN, "x": [Infinity]}}`
	if err := pyjson.Unmarshal([]byte("\xef\xbb\xbf"+text), &v); err != nil {
		t.Fatal(err)
	}
	want := []float64{0, math.Inf(1), math.Inf(-1), math.NaN(), math.Inf(1), 1000}
	for i, w := range want {
		if got := float64(v.Limit[i]); got != w && !(math.IsNaN(got) && math.IsNaN(w)) {
			t.Errorf("number %d is %v, want %v", i, got, w)
		}
	}
	if v.Text != `NaN, "Infinity" and -Infinity` {
		t.Errorf("text %q", v.Text)
	}
	b, err := json.Marshal(v.Others)
	if got := string(pyjson.Restore(b)); err != nil || got != `{"NaN":NaN,"x":[Infinity]}` {
		t.Errorf("restored: %s, %v", got, err)
	}
	b, err = json.Marshal(v.Limit[1:4])
	if got := string(b); err != nil || got != `[{"__float__":"Infinity"},{"__float__":"-Infinity"},{"__float__":"NaN"}]` {
		t.Errorf("written: %s, %v", got, err)
	}
}

func TestUnmarshal_errors(t *testing.T) {
	for text, want := range map[string]string{
		`{"R": "8"}`:         "R: want a whole number, got string",
		`{"R": 1.5}`:         "R: want a whole number, got number 1.5",
		`[1]`:                "want an object, got list",
		"{\n\"R\": Infinit}": "line 2: not JSON",
		`{"R": NaNs}`:        "line 1: not JSON",
		`{"R": `:             "unexpected end of JSON",
		``:                   "unexpected end of JSON",
	} {
		var v struct{ R int }
		err := pyjson.Unmarshal([]byte(text), &v)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
		if err = fmt.Errorf("key: %w", err); pyjson.Explain(nil, err) != err {
			t.Errorf("%s: an explained error is explained again: %v", text, pyjson.Explain(nil, err))
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add(`{"a":[NaN,"NaN\"",-Infinity]}`)
	f.Add(`"\`)
	f.Fuzz(func(t *testing.T, s string) {
		var v any
		if json.Unmarshal([]byte(s), &v) != nil || strings.Contains(s, `\u0000`) {
			return
		}
		if got := string(pyjson.Restore(pyjson.Clean([]byte(s)))); got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestLoneSurrogate(t *testing.T) {
	for text, want := range map[string]string{
		`"plain"`:           "",
		`"\ud83d\ude00"`:    "",
		`"\\ud83d"`:         "",
		`"a\ud83d"`:         `\ud83d`,
		`"\ud83d\n\ude00"`:  `\ud83d`,
		`"\ude00\ud83d"`:    `\ude00`,
		`"\u00e9\ud83dxyz"`: `\ud83d`,
		`\`:                 "",
		`"\ud83`:            "",
	} {
		if got := pyjson.LoneSurrogate([]byte(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
