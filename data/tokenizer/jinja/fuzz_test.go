package jinja

import (
	"context"
	"errors"
	"testing"
	"time"
)

// FuzzRender renders any template. It must end soon and without a panic, and errors must be from this package.
func FuzzRender(f *testing.F) {
	for _, g := range readGolden(f, "testdata/forms.jsonl") {
		f.Add(g.Template)
	}
	for _, c := range readCases(f) {
		f.Add(c.Template)
	}
	variables := conversations(f, "testdata/conversations.json")["tools"]
	f.Fuzz(func(t *testing.T, source string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := render(ctx, source, variables)
		if e := (*Error)(nil); err != nil && !errors.As(err, &e) && ctx.Err() == nil {
			t.Errorf("error %v of type %T", err, err)
		}
		if err == nil {
			_, _ = r.Spans()
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2.0, 1e20, true, null, "é\ud83d\ude00"]}`, `"\ud800"`, `[[[`, `1e999`, `123456789012345678901234567890`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := FromJSON(data)
		if err != nil {
			return
		}
		if _, err := render(t.Context(), "{{ v }}{{ v | tojson }}{{ v == v }}", map[string]Value{"v": v}); err != nil {
			t.Log(err)
		}
	})
}
