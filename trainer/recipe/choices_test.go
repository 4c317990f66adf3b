package recipe

import (
	"slices"
	"testing"

	"mambatrain/data/tokenizer"
	"mambatrain/internal/label"
)

// addBOS makes a tokenizer.json add the token with id 0 before each text.
func addBOS(tokenizer map[string]any) {
	const bos = "<|endoftext|>"
	tokenizer["post_processor"] = map[string]any{
		"type": "TemplateProcessing",
		"single": []any{
			map[string]any{"SpecialToken": map[string]any{"id": bos, "type_id": 0}},
			map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}},
		},
		"special_tokens": map[string]any{bos: map[string]any{"id": bos, "ids": []int{0}, "tokens": []string{bos}}},
	}
}

// A choice is scored after its context and a space, or after the BOS token, which appears only once.
func TestChoiceAfter(t *testing.T) {
	for name, change := range map[string]func(map[string]any){"plain": func(map[string]any) {}, "adds BOS": addBOS} {
		tok, err := tokenizer.Load(quickstartWith(t, change))
		if err != nil {
			t.Fatal(err)
		}
		before, _ := tok.Around()
		for context, kept := range map[string]string{"The sea is": "The sea is", "The sea is ": "The sea is", "": "", " ": ""} {
			want := slices.Concat(before, widen(tok.AppendText(nil, context+" dry")))
			unscored := len(before) + len(tok.AppendText(nil, kept))
			if unscored == 0 {
				want, unscored = slices.Insert(want, 0, 0), 1
			}
			d := choiceAfter(tok, context, "dry")
			if !slices.Equal(d.Tokens, want) {
				t.Errorf("%s: %q: tokens %v, want %v", name, context, d.Tokens, want)
			}
			for i, l := range d.Labels {
				if (l == label.Ignored) != (i < unscored) || l != label.Ignored && l != d.Tokens[i] {
					t.Errorf("%s: %q: labels %v of %v, want the first %d ignored", name, context, d.Labels, d.Tokens, unscored)
					break
				}
			}
		}
	}
}
