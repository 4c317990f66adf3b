package data

import (
	"fmt"
	"strings"
	"testing"

	"mambatrain/data/hub/hubtest"
	"mambatrain/data/source"
)

func quotesRepository() hubtest.Repository {
	row := func(s string) []byte { return fmt.Appendf(nil, "{\"text\":%q}\n", strings.Repeat(s+" ", 40)) }
	return hubtest.Repository{
		"README.md":                            []byte("---\nlicense: mit\n---\n# Quotes"),
		"data/train-00000-of-00002.jsonl":      row("one"),
		"data/train-00001-of-00002.jsonl":      row("two"),
		"data/validation-00000-of-00001.jsonl": row("three"),
	}
}

func TestOpen_hub(t *testing.T) {
	h := hubtest.New(t, map[string]hubtest.Repository{"datasets/org/quotes": quotesRepository()})
	h.Token = "secret"
	cache := t.TempDir()
	t.Setenv("HF_ENDPOINT", h.URL+"/")
	t.Setenv("HF_TOKEN", "secret\n")
	t.Setenv("HF_HUB_CACHE", cache)
	t.Setenv("HF_HUB_OFFLINE", "")
	tok, o := tinyTokenizer(t), Default()
	for range 2 { // the second time from the cache
		if n := open(t, "org/quotes", tok, o).Len(); n != 2 {
			t.Errorf("org/quotes has %d documents, want 2: its train split", n)
		}
		if e := open(t, "org/quotes:validation", tok, o).Example(0); !strings.HasPrefix(tok.Decode(e.Tokens), "three") {
			t.Errorf("validation is %q", tok.Decode(e.Tokens))
		}
	}
	if n := len(h.Asked("train-00000-of-00002.jsonl")); n != 1 {
		t.Errorf("the first file was sent %d times", n)
	}
	h.Close()
	t.Setenv("HF_HUB_OFFLINE", "1")
	if n := open(t, "org/quotes:train", tok, o).Len(); n != 2 {
		t.Errorf("offline: %d documents, want 2", n)
	}
	for path, want := range map[string]string{"org/other": "HF_HUB_OFFLINE", "org/quotes:tset": "tset"} {
		if _, err := Open(t.Context(), []source.Input{{Path: path}}, tok, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("offline, %s: %v, want an error with %q", path, err, want)
		}
	}
}
