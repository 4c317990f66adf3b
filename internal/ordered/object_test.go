package ordered

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := Decode(d)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDecode_keepsOrder(t *testing.T) {
	o := parse(t, `{"b": 1.0, "a": [{"z": null, "y": true}, "x"], "b": 2}`).(*Object)
	if !slices.Equal(o.Keys(), []string{"b", "a"}) {
		t.Errorf("keys %q", o.Keys())
	}
	if v, ok := o.Get("b"); !ok || v != json.Number("2") {
		t.Errorf("b is %v, want the last value", v)
	}
	a, _ := o.Get("a")
	if keys := a.([]any)[0].(*Object).Keys(); !slices.Equal(keys, []string{"z", "y"}) {
		t.Errorf("inner keys %q", keys)
	}
	if _, ok := o.Get("c"); ok {
		t.Error("c has a value")
	}
}

func TestDecode_errors(t *testing.T) {
	for _, text := range []string{"", "[1", `{"a"`, `{"a": 1`, `{"a": }`, "[1 2]", `{1: 2}`, strings.Repeat("[", 20000)} {
		if v, err := Decode(json.NewDecoder(strings.NewReader(text))); err == nil {
			t.Errorf("%.20q: %v, want an error", text, v)
		}
	}
}

func TestPlain(t *testing.T) {
	got := Plain(parse(t, `{"b": [{"c": "d"}], "a": null}`))
	want := map[string]any{"b": []any{map[string]any{"c": "d"}}, "a": nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
